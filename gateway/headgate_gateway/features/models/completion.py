"""A model's completion as the readers of this process see it, from its request to its end.

It waits for the provider's head, has a head, and is over. Events only come in this order, whichever
gateway writes them, and a reader gets none that is not durable. Where this process cannot know the
end, its readers are cut off instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate.shielding import shielded
from headgate_gateway.errors import drop_frames
from headgate_gateway.features.models.ends import DELETED
from headgate_gateway.features.models.record import EndEntry, ResponseEntry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

    from headgate.dialects.progress import EarlyEnd
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.features.models.ends import Outcome
    from headgate_gateway.features.models.record import Entry, RequestEntry
    from headgate_gateway.features.models.streams import CompletionStreams
    from headgate_gateway.web.requests.request import Request

# A field that makes a block of lines an event (section 9.2.6): one without data is ignored.
_DATA = re.compile(rb"(?:^|[\r\n])data(?=[:\r\n]|$)")
# What a block without data must not add to the next event: blank lines, a name and an id.
_NO_EVENT = re.compile(rb"(?:^|(?<=[\r\n]))(?:(?:event|id)(?::[^\r\n]*)?)?(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class CompletionParts(Protocol):
    """The parts of a provider's response, each of which is stored when it comes."""

    def parts(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the parts that have come together.

        Raises HeadgateError after all of them where the response is broken.
        """

    def unread(self) -> bytes:
        """Return what has come after the last part, once no more are read."""


class StoredResponse(NamedTuple):
    """A response whose parts are stored as they come, with its head as clients get it."""

    response: CompletionParts
    head: ResponseEntry


class WholeResponse(NamedTuple):
    """A response that is not stored, because it is not a stream of events: an error, say."""

    head: ResponseEntry
    body: bytes


class CompletionReader(Protocol):
    """A reader that has the events of a completion up to `position`."""

    position: int
    offset_of: Callable[[int], str]

    def push(self, events: bytes, position: int, /) -> bool:
        """Take the next events, with ids, up to a position; return False if it has to read them."""


class WaitingReaders:
    """The readers that have all of a completion that is there, and wait for more."""

    def __init__(self, streams: CompletionStreams) -> None:
        self._streams = streams
        self._waiting: dict[asyncio.Future[None], CompletionReader | None] = {}
        self._noted_at = 0.0  # when readers were last notified (loop time)
        self._silence: asyncio.TimerHandle | None = None  # while there are readers

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, reader: CompletionReader | None) -> None:
        """Wait until the reader has to look what there is; a request has none."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting[waiting] = reader
        if self._silence is None:
            self._watch_silence(loop.time())
        try:
            await waiting
        finally:
            self._waiting.pop(waiting, None)

    def push(self, events: Sequence[bytes], position: int) -> None:
        """Push durable events that end at `position`; wake the readers that do not take them."""
        self._noted_at = asyncio.get_running_loop().time()
        begin, numbered = position - sum(map(len, events)), b""
        for waiting, reader in list(self._waiting.items()):
            if reader is not None and reader.position == begin:
                numbered = numbered or with_ids(events, begin, reader.offset_of)
                if numbered and reader.push(numbered, position):
                    continue
            self._wake(waiting)

    def wake(self, *, are_last: bool = False) -> None:
        """Let each reader look again what there is; no others come if they `are_last`."""
        self._noted_at = asyncio.get_running_loop().time()
        if self._silence is not None and are_last:
            self._silence.cancel()
        for waiting in list(self._waiting):
            self._wake(waiting)

    def wake_requests(self) -> None:
        """Wake the requests that wait in `reach`, and no readers: these would get a comment."""
        for waiting, reader in list(self._waiting.items()):
            if reader is None:
                self._wake(waiting)

    def _wake(self, waiting: asyncio.Future[None]) -> None:
        del self._waiting[waiting]
        if not waiting.done():
            waiting.set_result(None)

    def _watch_silence(self, since: float) -> None:
        """Look a heartbeat after `since` (loop time) whether readers have had nothing meanwhile.

        One timer serves all readers and events: one for each event would take a twentieth of all
        time.
        """
        at = since + self._streams.heartbeat_s
        self._silence = asyncio.get_running_loop().call_at(at, self._end_silence)

    def _end_silence(self) -> None:
        """Notify the readers after a heartbeat without news, and look again while there are any."""
        self._silence = None
        if not self._waiting:
            return
        if asyncio.get_running_loop().time() >= self._noted_at + self._streams.heartbeat_s:
            self.wake()
        self._watch_silence(self._noted_at)


class Completion:
    """A completion in a stream. One that nobody writes any more is read from its record."""

    _is_gone = False  # over without an end that is known here

    def __init__(
        self,
        name: str,
        request: RequestEntry,
        streams: CompletionStreams,
        *,
        is_live: bool = False,
    ) -> None:
        """Set `is_live` if it is written, here or elsewhere: then there is more to come."""
        self.name = name
        self.request = request
        self.streams = streams
        self.head: ResponseEntry | None = None  # as clients get it
        self.end: EndEntry | None = None
        self.position = request.position  # of the durable bytes
        self.frees_key = False  # once it is over, its key begins another completion
        # Done with the head, with the whole response if that is not stored, or with the error.
        self._response: asyncio.Future[ResponseEntry | WholeResponse] | None = None
        if is_live:
            self._response = asyncio.get_running_loop().create_future()
        self._cut: HeadgateError | None = None  # why the readers get neither more nor an end
        self._latest: Sequence[bytes] = ()  # durable events
        self._readers = WaitingReaders(streams)
        self._task: asyncio.Task[None] | None = None

    def add(self, entry: Entry) -> None:
        """Take the next entry of its record."""
        if isinstance(entry, ResponseEntry):
            self.head = entry
        elif isinstance(entry, EndEntry):
            self.end, self.position = entry, entry.position
            self.frees_key = entry.frees_key is True

    @property
    def is_over(self) -> bool:
        """True when nothing more will be appended."""
        return (self.end is not None or self._is_gone) and self._cut is None

    @property
    def is_whole(self) -> bool:
        """True when no more events follow, even if the end is not recorded yet."""
        return self.is_over

    @property
    def outcome(self) -> Outcome | None:
        """The way in which the completion ended; None while that is not known."""
        return None if self.end is None else self.end.outcome

    @property
    def has_readers(self) -> bool:
        """True while readers that have all durable bytes wait for more."""
        return bool(self._readers)

    def stop(self, failure: EarlyEnd) -> None:
        """End the call to the provider, and the completion with this failure."""

    def stop_deleted(self, stream_id: int) -> None:
        """Stop the call to the provider, since the stream with this id was deleted."""

    def begin_reading(self, request: Request) -> None:
        """Count a request that reads it from now on, if it is stopped without readers."""

    # Reading

    async def wait_for_end(self, longest_s: float | None = None) -> None:
        """Return once it is over and does not run any more, or after `longest_s`."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=longest_s)

    async def wait_for_head(self) -> ResponseEntry | WholeResponse:
        """Return the head that clients get, or the whole response if it is not stored.

        Raises HeadgateError if the provider gave no response.
        """
        if self._response is not None:
            return await shielded(self._response)  # others wait for it, too
        assert self.head is not None, "it has a response to store"
        return self.head

    def latest_after(self, position: int) -> Sequence[bytes]:
        """Return the latest durable events if they begin at a position, else nothing."""
        return self._latest if self.position - sum(map(len, self._latest)) == position else ()

    async def wait_beyond(self, position: int, reader: CompletionReader | None = None) -> None:
        """Return once there are durable bytes after `position`, or the completion is over.

        A `reader` that keeps up is pushed them, and goes on waiting. Return also at each
        `sse_heartbeat` of silence: the reader sends a comment. Raises HeadgateError if it is not
        known here how it ends.
        """
        if self.position > position or self.is_over:
            return
        if self._cut is None:
            await self._readers.wait(reader)
        position = position if reader is None else reader.position
        if self._cut is not None and self.position <= position:
            raise self._cut

    async def reach(self, position: int) -> None:
        """Return once the durable bytes that are known here reach a position of the stream.

        Return also once the completion has no more. Raises HeadgateError as `wait_beyond`.
        """
        while self.position < position and not self.is_whole:
            await self.wait_beyond(self.position)

    def next_number(self) -> int:
        """Return the sequence number after that of the last event, if that is in memory; else 0."""
        state = self.request.dialect.progress()
        for event in self._latest:
            state.add(event)
        return state.next_number

    def wake_readers(self) -> None:
        """Let each reader that waits look again what there is."""
        self._readers.wake(are_last=self.is_over)

    # Progress

    def _set_response(self, response: ResponseEntry | WholeResponse) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_result(response)

    def _refuse(self, refusal: Exception) -> None:
        drop_frames(refusal)
        if self._response is not None and not self._response.done():
            self._response.set_exception(refusal)
            self._response.exception()  # nobody may wait for it any more

    def _note(self, events: Sequence[bytes], position: int) -> None:
        """Note durable events that end at `position`, and push them to the readers that wait."""
        self.position, self._latest = position, events
        self._readers.push(events, position)

    def _note_deleted(self) -> None:
        """Let the readers raise an error, since the end of the completion cannot be stored."""
        if event := self.request.dialect.failure_event(DELETED, self.next_number()):
            self._note([event], self.position + len(event))


class RunningCompletions:
    """The running completions, and those that are being looked up, by the paths of their streams.

    They outlive their route: after a reload, a request with the same key finds them here.
    """

    def __init__(self) -> None:
        self.at: dict[str, Completion] = {}
        self.opening: dict[str, asyncio.Future[None]] = {}

    @contextlib.contextmanager
    def reserved(self, path: str) -> Iterator[None]:
        """Make other requests for the completion at a path wait until the block ends."""
        opened = self.opening[path] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self.opening[path]
            opened.set_result(None)

    @contextlib.asynccontextmanager
    async def looked_up(self, path: str) -> AsyncIterator[Completion | None]:
        """Enter with the completion at a path; with None, others wait until the block ends."""
        while (running := self.at.get(path)) is None:
            opening = self.opening.get(path)
            if opening is None:
                with self.reserved(path):
                    yield None
                return
            await asyncio.wait([opening])
        yield running

    def drop(self, path: str, completion: Completion) -> None:
        """Drop a completion, unless another one with the same path is listed."""
        if self.at.get(path) is completion:
            del self.at[path]


def with_ids(events: Sequence[bytes], position: int, offset_of: Callable[[int], str]) -> bytes:
    """Return whole events, the first at `position`, each with the offset after it as its id.

    `offset_of` returns the offset of a position in the stream.
    """
    if len(events) == 1:
        return with_id(events[0], offset_of(position + len(events[0])).encode())
    ends = accumulate(map(len, events), initial=position)
    next(ends)
    return b"".join(map(with_id, events, (offset_of(end).encode() for end in ends)))


def with_id(block: bytes, id: bytes) -> bytes:  # noqa: A002 - as SSE calls it
    """Return an event with an id as its last line, so that no other id counts.

    A block without data has no blank line and no id: OpenAI's SDK takes any blank line after an id
    for an event. Its comments, and fields that are not of an event, begin the next one.
    """
    if block.startswith(b"data:") and block.endswith(b"\n\n"):
        return b"%bid: %b\n\n" % (block[:-1], id)  # as most are
    if b"\ndata:" not in block and _DATA.search(block) is None:
        return _LINE_END.sub(b"\n", _NO_EVENT.sub(b"", block))
    lines = block.strip(b"\r\n")
    return b"%b\nid: %b\n\n" % (lines, id)
