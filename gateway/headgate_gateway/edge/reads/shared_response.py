"""A response that several readers wait for, and what its route's cache asks about the stream."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.errors import OriginBroken
from headgate_gateway.later import Later, is_set_within
from headgate_gateway.protocol.streams.offsets import TailBound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
    from typing import TypeAlias

    from headgate_gateway.edge.reads.variants import Variant
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.protocol.requests import CatchUp
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest, StreamKey

    Wait: TypeAlias = Callable[[], Awaitable[None]]

AHEAD_BYTES = 256 * 1024  # that the origin may be ahead of the readers of a body
LONGEST_GATHERED = 8 << 20  # bytes of an answer that is gathered for later readers while it comes
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

    If the response has a `body` that arrives in parts, the reader has those before `at`,
    `received_bytes` in all. The request that has the response removes a reader that `is_held`.
    """

    # Class attributes, so that a reader is cheap to create: most read no parts.
    body: SharedBody | None = None
    at = 0
    received_bytes = 0
    is_held = False
    is_dropped = False
    _stalled = (-1, 0.0)  # received_bytes when it was last seen behind, and since when

    def patience_s(self, now: float) -> float:
        """Return how many seconds a reader that is behind may still take nothing."""
        if self._stalled[0] != self.received_bytes:
            self._stalled = (self.received_bytes, now)
        return self._stalled[1] + SLOW_S - now

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises the error that cut it short."""
        assert self.body is not None, "it arrives in parts"
        while part := await self.body.part(self):
            self.at += 1
            self.received_bytes += len(part)
            self.body.on_progress()
            yield part

    def release(self) -> None:
        """Release the body, because the reader does not need the rest."""
        if self.body is not None:
            self.body.remove_reader(self)


class SharedBody:
    """A body that several readers receive while it arrives.

    It is stored whole until it is `passed_on`; then each part only until all readers have it.
    """

    def __init__(self, readers: set[FetchReader]) -> None:
        """Begin with these `readers`; further ones are added to the set."""
        self.size = 0
        self.passed_on = False
        self._parts: list[bytes] = []
        self._dropped = 0  # number of parts that are not stored any more
        self._readers = readers
        self._ended = False
        self._error: HeadgateError | None = None
        # Created when the first reader, or the sender, has to wait.
        self._came: asyncio.Event | None = None
        self._progress: asyncio.Event | None = None
        for reader in readers:
            reader.body = self

    def whole(self) -> bytes:
        """Return the body received so far, while all of it is stored."""
        return b"".join(self._parts)

    # As it comes

    def add(self, part: bytes) -> None:
        """Add the next part."""
        self._parts.append(part)
        self.size += len(part)
        _set(self._came)

    def end(self) -> None:
        """Mark the body as complete."""
        self._ended = True
        _set(self._came)

    def fail(self, error: HeadgateError) -> None:
        """End the body early, with the error that readers get instead of the rest."""
        self._error = error
        _set(self._came)

    def pass_on(self) -> None:
        """Drop the parts that no reader needs any more, from now on."""
        self.passed_on = True
        self._drop()

    async def wait_for_slowest(self) -> None:
        """Wait for the slowest reader. Raises OriginBroken if no reader is left.

        A reader that makes others wait for too long is dropped; a single reader is not.
        """
        now = asyncio.get_running_loop().time
        while self.passed_on:
            self._drop()
            if not self._readers:
                raise OriginBroken("nobody waited for the origin's answer any more")
            slow = self._behind()
            if not slow:
                return
            left_s = None
            if len(slow) < len(self._readers):
                left_s = min(one.patience_s(now()) for one in slow)
            self._progress = progress = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await progress.wait()
            if left_s is not None:
                for reader in self._behind():
                    if reader.patience_s(now()) <= 0:
                        reader.is_dropped = True
                        self._readers.discard(reader)

    def _behind(self) -> list[FetchReader]:
        return [one for one in self._readers if self.size - one.received_bytes > AHEAD_BYTES]

    # As it is read

    async def part(self, reader: FetchReader) -> bytes:
        """Return a reader's next part once it is there; empty at the end. Raises as `parts`."""
        while not reader.is_dropped and reader.at == self._dropped + len(self._parts):
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            if self._came is None or self._came.is_set():
                self._came = asyncio.Event()
            await self._came.wait()
        if reader.is_dropped:
            raise OriginBroken("others who read the same answer could not wait for this reader")
        return self._parts[reader.at - self._dropped]

    def on_progress(self) -> None:
        """Note that a reader took a part."""
        _set(self._progress)

    def remove_reader(self, reader: FetchReader) -> None:
        """Remove a reader."""
        self._readers.discard(reader)
        _set(self._progress)

    def _drop(self) -> None:
        if self.passed_on:
            came = self._dropped + len(self._parts)
            slowest = min((reader.at for reader in self._readers), default=came)
            del self._parts[: slowest - self._dropped]
            self._dropped = slowest


def _set(event: asyncio.Event | None) -> None:
    if event is not None:
        event.set()


class SharedResponse(ABC):
    """A response that several readers wait for; a subclass gets it.

    Equal requests find it under `key`, and a later one has a higher `number`; `old` is to be
    validated. `response` is set when the response's head is known, and `whole` when the body is,
    too. Once `response` is set, `is_joinable` says whether it may be cached, and equal requests may
    join; otherwise only its present readers get the body.
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
        if self.body is not None:
            assert self.is_joinable, "the beginning of its body may be gone"
            reader.body = self.body
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

    def begin_body(self) -> SharedBody:
        """Let the present readers, and those who join, receive the body in parts."""
        self.body = SharedBody(self.readers)
        return self.body

    @abstractmethod
    def _settle(self) -> None:
        """Store or drop the response, before its readers get it, and wake them."""

    async def settled_within(self, timeout_s: float) -> None:
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
            if self.body is not None:
                self.body.pass_on()
            self._settle()

    def fail(self, error: HeadgateError) -> None:
        """Fail the readers, unless they have the whole response."""
        # The frames of the error and of its causes have this object: they would stay in memory.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        if self.body is not None:
            self.body.fail(error)
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
    # Note a fetch; return whether its response is of the stream that is there now.
    note: Callable[[SharedResponse], bool] = lambda *_: True
    # Note that a stream ends before the offset that a fetch began at.
    note_end: Callable[[SharedResponse, str], None] = lambda *_: None
    # A server has begun to answer with data: return what to await before any reader gets them, or
    # None. It raises if no reader may.
    comparison_before: Callable[[SharedResponse], Wait | None] = lambda _: None
    # Return recent data to serve because the origin has failed to answer, or None.
    recent_response: Callable[[CacheRequest], CachedResponse | None] = lambda _: None
    # Return whether the origin is known not to respond.
    is_down: Callable[[], bool] = lambda: False
