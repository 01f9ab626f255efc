"""A response that several readers wait for, and what its route's cache asks about the stream."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.errors import OriginBroken
from headgate_gateway.later import Later, is_set_within
from headgate_gateway.protocol.streams.offsets import TailBound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
    from typing import TypeAlias

    from headgate_gateway.edge.reads.variants import Variant
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.protocol.requests import CatchUp
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest, StreamKey

    Wait: TypeAlias = Callable[[], Awaitable[None]]

AHEAD_BYTES = 256 * 1024  # that the origin may be ahead of the readers of a body
LONGEST_GATHERED = 8 << 20  # bytes of an answer that is gathered for later readers while it comes
NO_READERS = "nobody waited for the origin's answer any more"
NOT_WAITED_FOR = "others who read the same answer could not wait for this reader"
SLOW_S = 2.0  # for which readers that keep up wait for one that takes nothing at all

BEFORE_ALL = -1  # the number of a response that no request has just brought, such as a cached one
# Return a number that is higher than all that were returned before.
next_number = count().__next__


class FetchOutcome(Enum):
    """The outcome of a fetch."""

    FETCHED = "fetched"
    CONFIRMED = "confirmed"
    SERVED_STALE = "stale"  # or recent data, since the origin failed


# In Python 3.11 a member costs as much as a call when it is looked up in its class.
FETCHED, CONFIRMED, SERVED_STALE = FetchOutcome


class FetchReader:
    """The share of one reader in a response.

    A reader that waits when a `body` begins to arrive gets it in parts; one that comes later waits
    until it is whole. The request that has the response removes a reader that `is_held`.
    """

    # Class attributes, so that a reader is cheap to create: most read no parts.
    body: SharedBody | None = None
    waiting_bytes = 0  # received, and not read so far
    is_held = False
    _parts: asyncio.Queue[bytes | HeadgateError]

    def begin(self, body: SharedBody) -> None:
        """Receive the parts of a body from now on."""
        self.body, self._parts = body, asyncio.Queue()

    def put(self, part: bytes | HeadgateError) -> None:
        """Add the next part; empty at the end, or the error that is raised instead of the rest."""
        self._parts.put_nowait(part)
        if isinstance(part, bytes):
            self.waiting_bytes += len(part)

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises the error that cut it short."""
        assert self.body is not None, "it arrives in parts"
        while part := await self._parts.get():
            if not isinstance(part, bytes):
                raise part
            self.waiting_bytes -= len(part)
            self.body.on_progress()
            yield part

    def release(self) -> None:
        """Release the body, because the reader does not need the rest."""
        if self.body is not None:
            self.body.remove_reader(self)


class SharedBody:
    """A body that arrives in parts, for the readers that wait when it begins.

    It is stored whole until it is passed on.
    """

    def __init__(self, readers: Iterable[FetchReader], start: bytes) -> None:
        """Begin with what has come of it, which may be nothing."""
        self.size = 0
        self._parts: list[bytes] = []
        self._readers = set(readers)
        self._progress = asyncio.Event()
        for reader in readers:
            reader.begin(self)
        if start:
            self.add(start)

    def add(self, part: bytes) -> None:
        """Add the next part."""
        self.size += len(part)
        self._parts.append(part)
        for reader in self._readers:
            reader.put(part)

    def whole(self) -> bytes:
        """Return the body received so far, while all of it is stored."""
        return b"".join(self._parts)

    def end(self, error: HeadgateError | None = None) -> None:
        """End the body, early if there is an error, which readers get instead of the rest."""
        for reader in self._readers:
            reader.put(error or b"")

    async def pass_on(self) -> None:
        """Wait for the slowest reader of parts that are not stored for others any more.

        Raises OriginBroken if no reader is left. A reader that makes others wait for too long is
        dropped; a single reader is not.
        """
        self._parts.clear()
        while self._readers:
            slow = [one for one in self._readers if one.waiting_bytes > AHEAD_BYTES]
            if not slow:
                return
            self._progress.clear()
            try:
                async with asyncio.timeout(SLOW_S if len(slow) < len(self._readers) else None):
                    await self._progress.wait()
            except TimeoutError:
                for reader in slow:
                    self._readers.discard(reader)
                    reader.begin(self)  # without what it has not read
                    reader.put(OriginBroken(NOT_WAITED_FOR))
        raise OriginBroken(NO_READERS)

    def on_progress(self) -> None:
        """Note that a reader took a part."""
        self._progress.set()

    def remove_reader(self, reader: FetchReader) -> None:
        """Remove a reader."""
        self._readers.discard(reader)
        self._progress.set()


class SharedResponse(ABC):
    """A response that several readers wait for; a subclass gets it.

    Equal requests find it under `key`, and a later one has a higher `number`; `old` is to be
    validated. `response` is set when the response's head is known, and `whole` when the body is,
    too. Once `response` is set, `is_joinable` says whether it may be cached, and equal requests may
    join, which get it whole; otherwise only its present readers get the body.
    """

    key: Hashable
    number: int
    request: CacheRequest
    old: Variant | None
    response: Later[CachedResponse]
    readers: set[FetchReader]
    # Class attributes, so that one is cheap to create: few responses set them.
    is_joinable = True
    how = FETCHED
    whole: CachedResponse | None = None
    error: HeadgateError | None = None
    is_settled = False  # True once it is known what becomes of the response, or there is an `error`
    is_stored = False  # True once the cache has it
    served_count = 0  # number of readers that got it
    server = ""  # the incarnation of the server that has answered
    passed_by: TailBound | None = None  # how far writes meanwhile reach; then it is not cached
    is_of_the_past = False  # True if another stream may be there now
    body: SharedBody | None = None  # of a response that arrives in parts
    ending: asyncio.TimerHandle | None = None  # ends it without readers, unless it completes before
    _settling: Later[None] | None = None  # set while a reader waits until it is settled

    # Its readers

    def join(self) -> FetchReader:
        """Add a reader that waits for the response."""
        reader = FetchReader()
        self.readers.add(reader)
        if self.ending is not None:
            self.ending.cancel()
            self.ending = None
        return reader

    # Writes meanwhile

    def outdate(self, reach: TailBound | None) -> None:
        """Note a write. Without a `reach`, another stream may be there now."""
        if reach is None:
            self.is_of_the_past = True
        self.passed_by = (self.passed_by or TailBound()).together(reach or TailBound())

    @property
    def is_current(self) -> bool:
        """True if the response has everything that was written while it came."""
        if self.passed_by is None:
            return True
        facts = self.response.result().facts
        if self.is_of_the_past or facts is None:
            return False
        return self.passed_by.is_reached_by(facts.next_offset, closed=facts.closed)

    # Its result

    def begin_body(self, start: bytes) -> SharedBody:
        """Let the present readers receive a body in parts, with what has come of it."""
        self.body = SharedBody(self.readers, start)
        return self.body

    async def add(self, body: SharedBody, part: bytes) -> None:
        """Add the next part of the body; if no further request may join, wait for its readers."""
        body.add(part)
        if body.size > LONGEST_GATHERED:
            self.pass_on()
        if self.is_settled:
            await body.pass_on()

    @abstractmethod
    def _settle(self) -> None:
        """Store or drop the response, before its readers get it, and wake them."""

    async def settled_within(self, timeout_s: float | None) -> None:
        """Wait, but no longer, until it is known what becomes of the response; raise its error."""
        if not self.is_settled:
            if self._settling is None:
                self._settling = Later()
            await is_set_within(self._settling, timeout_s)
        if self.error is not None:
            raise self.error.with_traceback(None)

    def finish(self, whole: CachedResponse, how: FetchOutcome = FETCHED) -> None:
        """Resolve the readers with a whole response that may be cached."""
        self.whole, self.how = whole, how
        self._settle()
        if not self.response.done():
            self.response.set_result(whole)

    def settle_whole(self, head: CachedResponse, body: bytes) -> None:
        """Resolve the readers with a response that has come whole, also one not to be cached."""
        if head.joinable and len(body) <= LONGEST_GATHERED:
            is_whole = head.body is body and head.tagged_as is None  # as most heads are known
            self.whole = whole = head if is_whole else head.with_body(body)
            self._settle()
            self.response.set_result(whole)
        else:
            self.whole = msgspec.structs.replace(head, body=body)
            self.response.set_result(head)
            self.pass_on()

    def pass_on(self) -> None:
        """Let no further request join."""
        if not self.is_settled:
            self.is_joinable = False
            self._settle()

    def fail(self, error: HeadgateError) -> None:
        """Fail the readers, unless they have the whole response."""
        # The frames of the error and of its causes have this object: they would stay in memory.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        if self.body is not None:
            self.body.end(error)
        if not self.is_settled:
            self.error = error
            self._settle()
        if not self.response.done():
            self.response.set_exception(error)

    def _wake(self) -> None:
        settling, self._settling = self._settling, None
        if settling is not None:
            settling.set_result(None)


class StreamKnowledge(NamedTuple):
    """The knowledge of a route's followed streams, as functions; the defaults know no stream."""

    # Drop what is cached of a path: another stream is there.
    forget: Callable[[str], None]
    # Drop what was rendered of a path: an answer may have been another request's.
    distrust: Callable[[str], None] = lambda _: None
    # Return whether the stream that everybody reads at a host is known to end at an offset.
    is_tail: Callable[[str, CatchUp, str], bool] = lambda *_: False
    # Return whether no reader has newer data of a stream than a fetch, by its end and its number.
    is_newest: Callable[[StreamKey, str, int], bool] = lambda *_: True
    # Note a fetch, which is outdated if its response is of a stream that was there before.
    note: Callable[[SharedResponse], None] = lambda _: None
    # Note that a stream ends before the offset that a fetch began at.
    note_end: Callable[[SharedResponse, str], None] = lambda *_: None
    # A server has begun to answer with data: return what to await before any reader gets them, or
    # None. It raises if no reader may.
    comparison_before: Callable[[SharedResponse], Wait | None] = lambda _: None
    # Return recent data to serve because the origin has failed to answer, or None.
    recent_response: Callable[[CacheRequest], CachedResponse | None] = lambda _: None
    # Return whether the origin is known not to respond.
    is_down: Callable[[], bool] = lambda: False
