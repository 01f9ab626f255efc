"""An answer that is still being written, as the readers of this process see it."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Protocol

from typing_extensions import override

from headgate.dialects.progress import EarlyEnd
from headgate_gateway.errors import drop_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.features.models.record import (
        EndEntry,
        Outcome,
        RequestEntry,
        ResponseEntry,
    )
    from headgate_gateway.features.models.streams import AnswerStreams
    from headgate_gateway.features.models.unread import AnswerReaders

DELETED = EarlyEnd("answer_deleted", "the stream of the answer was deleted")
# A field that makes a block of lines an event (section 9.2.6): one without data is ignored.
_DATA = re.compile(rb"(?:^|[\r\n])data(?=[:\r\n]|$)")
# What a block without data must not add to the next event: blank lines, a name and an id.
_NO_EVENT = re.compile(rb"(?:^|(?<=[\r\n]))(?:(?:event|id)(?::[^\r\n]*)?)?(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class WholeResponse(NamedTuple):
    """A response that is not stored, because it is not a stream of events: an error, say."""

    head: ResponseEntry
    body: bytes


class AnswerReader(Protocol):
    """A reader that has the events of an answer up to `position`."""

    position: int
    offset_of: Callable[[int], str]

    def push(self, events: bytes, position: int, /) -> bool:
        """Take the next events, with ids, up to a position; return False if it has to read them."""


class Answer:
    """An answer in a stream. This base is over and stored: its readers read the log."""

    def __init__(
        self,
        name: str,
        request: RequestEntry,
        head: ResponseEntry | None = None,
        end: EndEntry | None = None,
    ) -> None:
        self.name = name
        self.request = request
        self.position = request.position if end is None else end.position  # of the durable bytes
        # Once it is over, its key begins another answer.
        self.frees_key = end is not None and end.frees_key is True
        self._head = head
        self._outcome = None if end is None else end.outcome

    @property
    def is_over(self) -> bool:
        """True when nothing more will be appended."""
        return True

    @property
    def outcome(self) -> Outcome | None:
        """The way in which the answer ended; None while that is not known."""
        return self._outcome

    def stop(self, failure: EarlyEnd) -> None:
        """End the call to the provider, and the answer with this failure."""

    async def wait_for_end(self, longest_s: float | None = None) -> None:
        """Return once the answer is over and does not run any more, or after `longest_s`."""

    async def wait_for_head(self) -> ResponseEntry | WholeResponse:
        """Return the head that clients get, or the whole response if it is not stored.

        Raises HeadgateError if the provider gave no response.
        """
        assert self._head is not None, "it has a response to store"
        return self._head

    def latest_after(self, _position: int) -> Sequence[bytes]:
        """Return the latest durable events if they begin at a position, else nothing."""
        return ()

    async def wait_beyond(self, position: int, reader: AnswerReader | None = None) -> None:
        """Return once there are durable bytes after `position`, or the answer is over.

        A `reader` that keeps up is pushed them, and goes on waiting. Return also at each
        `sse_heartbeat` of silence: the reader sends a comment. Raises HeadgateError if it is not
        known here how it ends.
        """

    async def reach(self, position: int) -> None:
        """Return once the durable bytes that are known here reach a position of the stream.

        Return also once the answer has no more. Raises HeadgateError as `wait_beyond`.
        """

    def wake_readers(self) -> None:
        """Let each reader that waits look again what there is."""

    def next_number(self) -> int:
        """Return the sequence number after that of the last event, if that is in memory; else 0."""
        return 0


class LiveAnswer(Answer, ABC):
    """An answer with readers in this process, which any gateway may write.

    `response` is done once the provider's response has begun: with the head that clients get, with
    the whole response if it is not stored, or with the error.
    """

    def __init__(self, name: str, request: RequestEntry, streams: AnswerStreams) -> None:
        super().__init__(name, request)
        self.streams = streams
        self.response: asyncio.Future[ResponseEntry | WholeResponse] = (
            asyncio.get_running_loop().create_future()
        )
        self._latest: Sequence[bytes] = ()  # durable events
        self._waiting: dict[asyncio.Future[None], AnswerReader | None] = {}
        self._task: asyncio.Task[None] | None = None
        self._noted_at = 0.0  # when readers were last notified (loop time)
        self._silence: asyncio.TimerHandle | None = None  # while there are readers
        self._cut: HeadgateError | None = None  # why the readers get neither more nor an end
        self.readers: AnswerReaders | None = None  # where it is stopped once it has none

    @property
    @override
    @abstractmethod
    def is_over(self) -> bool:
        """True when nothing more will be appended."""

    def stop_deleted(self, stream_id: int) -> None:
        """Stop the call to the provider, since the stream with this id was deleted."""

    @override
    async def wait_for_end(self, longest_s: float | None = None) -> None:
        assert self._task is not None, "it is started when it is made"
        await asyncio.wait([self._task], timeout=longest_s)

    @override
    async def wait_for_head(self) -> ResponseEntry | WholeResponse:
        return await asyncio.shield(self.response)  # others wait for it, too

    @override
    def latest_after(self, position: int) -> Sequence[bytes]:
        return self._latest if self.position - sum(map(len, self._latest)) == position else ()

    @override
    async def wait_beyond(self, position: int, reader: AnswerReader | None = None) -> None:
        if self.position > position or self.is_over:
            return
        if self._cut is None:
            loop = asyncio.get_running_loop()
            waiting: asyncio.Future[None] = loop.create_future()
            self._waiting[waiting] = reader
            if self._silence is None:
                self._watch_silence(loop.time())
            try:
                await waiting
            finally:
                self._waiting.pop(waiting, None)
        position = position if reader is None else reader.position
        if self._cut is not None and self.position <= position:
            raise self._cut

    @override
    async def reach(self, position: int) -> None:
        while self.position < position and not self.is_whole:
            await self.wait_beyond(self.position)

    @property
    def is_whole(self) -> bool:
        """True when no more events follow, even if the end is not recorded yet."""
        return self.is_over

    @property
    def has_readers(self) -> bool:
        """True while readers that have all durable bytes wait for more."""
        return bool(self._waiting)

    def _watch_silence(self, since: float) -> None:
        """Look a heartbeat after `since` (loop time) whether readers have had nothing meanwhile.

        One timer serves all readers and events: one for each event would take a twentieth of all
        time.
        """
        at = since + self._heartbeat_s
        self._silence = asyncio.get_running_loop().call_at(at, self._end_silence)

    def _end_silence(self) -> None:
        """Notify the readers after a heartbeat without news, and look again while there are any."""
        self._silence = None
        if not self._waiting:
            return
        if asyncio.get_running_loop().time() >= self._noted_at + self._heartbeat_s:
            self.wake_readers()
        self._watch_silence(self._noted_at)

    @property
    def _heartbeat_s(self) -> float:
        return self.streams.route.feeds.source.settings.heartbeat

    @override
    def wake_readers(self) -> None:
        self._noted_at = asyncio.get_running_loop().time()
        if self._silence is not None and self.is_over:
            self._silence.cancel()
        for waiting in list(self._waiting):
            self._wake(waiting)

    def _wake(self, waiting: asyncio.Future[None]) -> None:
        del self._waiting[waiting]
        if not waiting.done():
            waiting.set_result(None)

    def _note(self, events: Sequence[bytes], position: int) -> None:
        """Note durable events that end at `position`, and push them to the readers that wait."""
        self.position, self._latest = position, events
        self._noted_at = asyncio.get_running_loop().time()
        begin, numbered = position - sum(map(len, events)), b""
        for waiting, reader in list(self._waiting.items()):
            if reader is not None and reader.position == begin:
                numbered = numbered or with_ids(events, begin, reader.offset_of)
                if numbered and reader.push(numbered, position):
                    continue
            self._wake(waiting)

    def _note_deleted(self) -> None:
        """Let the readers of the answer raise an error, since its end cannot be stored."""
        if event := self.request.dialect.failure_event(DELETED, self.next_number()):
            self._note([event], self.position + len(event))

    @override
    def next_number(self) -> int:
        state = self.request.dialect.progress()
        for event in self._latest:
            state.add(event)
        return state.next_number

    def _set_response(self, response: ResponseEntry | WholeResponse) -> None:
        if not self.response.done():
            self.response.set_result(response)

    def _refuse(self, refusal: Exception) -> None:
        drop_frames(refusal)
        if not self.response.done():
            self.response.set_exception(refusal)
            self.response.exception()  # nobody may wait for it any more


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
