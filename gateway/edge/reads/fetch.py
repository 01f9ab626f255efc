"""A GET in flight at an origin, and the requests that wait for its response."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from gateway.edge.reads.fetch_result import FetchPart, FetchResult
from gateway.edge.reads.order import next_number
from gateway.edge.reads.shared_body import SharedBody
from gateway.later import Later, is_set_within
from gateway.protocol.streams.reach import TailBound
from gateway.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.edge.reads.variants import Variant
    from gateway.edge.rules.cached_response import CachedResponse, CacheRequest
    from gateway.errors import HeadgateError
    from gateway.origin.answer import OriginAnswer


class FetchOwner(Protocol):
    """The table of fetches, as a fetch uses it."""

    def settled(self, fetch: SharedFetch, fetched: FetchResult | None) -> None:
        """Note that it is known what becomes of an answer, before its readers get it.

        `fetched` is the whole answer if it may be cached.
        """


class FetchExchange(Protocol):
    """The exchange with the origin that provides the result of a fetch."""

    answer: OriginAnswer | None
    is_abandoned: bool
    owner: FetchOwner

    def cancel_ending(self) -> None:
        """Cancel the ending, because a reader waits for the fetch again."""

    def end_without_waiters(self) -> None:
        """End the exchange if no reader waits for the fetch."""


class SharedFetch:
    """A GET that several readers wait for, and its result; its `exchange` gets that.

    `response` is done when the response's head is known, and `whole` is there when all is. Once
    `response` is done, `shared` says whether it may be joined; equal requests find it under `key`,
    and a later one has a higher `number`. `old` is to be validated. `is_stored` says whether the
    answer was put into the store.
    """

    # What few fetches come to differ in stands here: so to make one is cheap.
    shared = True
    # What is known of the writes that have passed by; then it is not to be kept, nor joined.
    passed_by: TailBound | None = None
    is_of_the_past = False  # perhaps of another stream than is there now
    is_stored = False
    served_count = 0  # to so many readers
    is_settled = False  # it is known what becomes of the answer, or there is an `error`
    whole: FetchResult | None = None
    error: HeadgateError | None = None
    exchange: FetchExchange | None = None  # from its start until it is over
    _body: SharedBody | None = None  # nobody reads most of them in parts
    _settling: Later[None] | None = None  # somebody waits until it is settled

    def __init__(self, key: Hashable, request: CacheRequest, old: Variant | None) -> None:
        self.key = key
        self.number = next_number()
        self.request = request
        self.leader = tracing.current.get()  # for whom it is made
        self.response: Later[CachedResponse] = Later()
        self.old = old
        self.parts: set[FetchPart] = set()  # of all who wait for it

    @property
    def body(self) -> SharedBody:
        """The body received so far, for clients that read it as it arrives."""
        if self._body is None:
            self._body = SharedBody()
        return self._body

    # The origin behind it

    @property
    def server(self) -> str:
        """The incarnation of the server that has answered."""
        answer = None if self.exchange is None else self.exchange.answer
        return "" if answer is None else answer.server

    def trusts_connection(self, distrust: Callable[[tuple[str, str], str], None]) -> bool:
        """Return whether the answer belongs to its request, as far as its connection shows.

        If the connection turns out to be out of step later, `distrust` is called with key and path.
        """
        answer, key = None if self.exchange is None else self.exchange.answer, self.request.key
        history = None if answer is None else answer.history
        return history is None or history.note(key, partial(distrust, key, self.request.path))

    @property
    def is_abandoned(self) -> bool:
        """True if the fetch was cancelled without waiters: no request may join it."""
        return self.exchange is not None and self.exchange.is_abandoned

    # Writes during the fetch

    def outdate(self, reach: TailBound | None) -> None:
        """Note a write during the fetch. Without a `reach`, another stream may be there now."""
        if reach is None:
            self.is_of_the_past = True
        self.passed_by = (self.passed_by or TailBound()).together(reach or TailBound())

    @property
    def is_current(self) -> bool:
        """True if the response has everything that was written while the fetch was under way."""
        if self.passed_by is None:
            return True
        facts = self.response.result().facts
        if self.is_of_the_past or facts is None:
            return False
        return self.passed_by.is_reached_by(facts.next_offset, closed=facts.closed)

    # Its readers

    def join(self) -> FetchPart:
        """Add a reader that waits for the fetch."""
        part = FetchPart()
        self.parts.add(part)
        if self.exchange is not None:
            self.exchange.cancel_ending()
        if self._body is not None:
            part.reader = self._body.reader()
        return part

    def remove(self, part: FetchPart) -> None:
        """Remove a reader."""
        self.parts.discard(part)
        if part.reader is not None:
            part.reader.release()
        if self.exchange is not None:
            self.exchange.end_without_waiters()

    # Its result

    async def settled_within(self, timeout_s: float) -> None:
        """Wait for so long until it is known what becomes of the answer. Raises what cut it."""
        if not self.is_settled:
            if self._settling is None:
                self._settling = Later()
            await is_set_within(self._settling, timeout_s)
        if self.error is not None:
            raise self.error.with_traceback(None)

    def finish(self, fetched: FetchResult) -> None:
        """Resolve the fetch for all readers with a whole response that may be cached."""
        self.whole = fetched
        self._settle(fetched)
        if not self.response.done():
            self.response.set_result(fetched.cached)

    def pass_on(self) -> None:
        """Close the fetch for further requests: the body goes to its present readers only."""
        if not self.is_settled:
            self.shared = False
            if self._body is not None:
                self._body.pass_on()
            self._settle(None)

    def fail(self, error: HeadgateError) -> None:
        """Fail the fetch for its readers, unless they have the whole response."""
        # The frames of the error and of its causes have this fetch: they would stay in memory.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        self.cut(error)
        if not self.is_settled:
            self.error = error
            self._settle(None)
        if not self.response.done():
            self.response.set_exception(error)

    def cut(self, error: HeadgateError) -> None:
        """Raise `error` in the readers that have the beginning of the body."""
        if self._body is not None:
            self._body.fail(error)

    def _settle(self, fetched: FetchResult | None) -> None:
        self.is_settled = True
        assert self.exchange is not None, "it has started"
        self.exchange.owner.settled(self, fetched)
        settling = self._settling
        if settling is not None:
            self._settling = None
            settling.set_result(None)
