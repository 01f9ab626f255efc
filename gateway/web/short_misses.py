"""What an origin has answered without a task, as its client is told it and it is counted.

The same bytes and figures as by `handlers`, `edge_presentation` and `accounting`, for who wants an
answer whole.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from gateway.errors import NO_STREAM, StreamNotFound
from gateway.live.contract import Parkable
from gateway.protocol import cache_status, http1
from gateway.protocol.repair import EMPTY_BYTES
from gateway.telemetry import traffic as counted
from gateway.web import accounting
from gateway.web.responses import JOINED_BYTES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from gateway.cache.cache_result import CacheResult, Joined
    from gateway.cache.cached_response import CacheRequest
    from gateway.cache.private_fields import Recipient
    from gateway.cache.short_fetch import ShortFetch
    from gateway.cache.short_waiter import ShortWaiter
    from gateway.cache.variants import Variant
    from gateway.protocol.requests import Read
    from gateway.runtime.context import Context
    from gateway.runtime.exchange import Exchange
    from gateway.runtime.route import PlainGet, StreamRoute

    Request = RawRequestMessage | bytes  # the bytes of one that need not be parsed before


class Client(Parkable, Protocol):
    """A connection that may wait, and may be given to aiohttp then."""

    transport: asyncio.Transport | None

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Write an answer whose body is too long to be copied."""

    def go_on_in_task(self, request: Request, joined: Joined | None, began: float) -> None:
        """Have aiohttp handle the request for which it was kept."""


class ShortMiss:
    """One read that waits: an OriginReader."""

    __slots__ = (
        *("_began", "_client", "_exchange", "_get", "_message", "_route", "_shared"),
        *("fetch", "fields", "first", "is_collapsed", "old"),
        *("recipient", "request", "varies"),
    )

    request: CacheRequest  # these are given by who asks
    fields: bytes
    recipient: Callable[[Read], Recipient]
    varies: frozenset[str]

    def __init__(
        self,
        shared: Context,
        route: StreamRoute,
        client: Client,
        get: PlainGet,
        message: Request,
    ) -> None:
        self._began = perf_counter()
        self._shared = shared
        self._route = route
        self._client = client
        self._get = get
        self._message = message
        self._exchange: Exchange | None = None  # where there is to be a line in the log
        self.first: Callable[[CacheResult], object] | None = None
        self.old: Variant | None = None
        self.is_collapsed = False
        self.fetch: ShortFetch[ShortWaiter] | None = None

    def is_logged_as(self, headers: MultiMapping[str]) -> None:
        """Have a line in the log, of a request with these headers."""
        get, transport, route = self._get, self._client.transport, self._route
        began, shared = self._began, self._shared
        self._exchange = accounting.of_get(get, headers, transport, route, shared, began)

    def wait(self) -> None:
        """Of an OriginReader."""
        self._client.take(self._left)

    def given(self, result: CacheResult) -> None:
        """Of a ShortWaiter."""
        if self.first is not None:
            self.first(result)
        if self._has_ended():
            return
        shared, cached = self._shared, result.cached
        status, body, cache = cached.status, cached.body, result.cache
        if status == 404 and self._get.conceals:
            self._conceal()
            return
        head, recipient = cached.head, self.recipient(self.request.read)
        if recipient.is_private or not result.tail_is_known:
            head = cached.told(recipient, known=result.tail_is_known)
        date, cors = shared.lines.parts_at(shared.clock())
        lines = [
            head,
            date if cached.own_date else b"",
            cors if cached.own_cors else b"",
            shared.lines.referrer,
        ]
        if status >= 400 or self._get.request_id is not None:
            lines.append(f"X-Request-Id: {self._request_id()}\r\n".encode())
        lines.append(cache)
        has_body = status == 200 or http1.has_body(status)
        lines.append(b"Content-Length: %d\r\n\r\n" % len(body) if has_body else b"\r\n")
        self._reply(lines, body)
        begins = counted.begins(self.request.read.offset)
        # Else it tells of a stream that has something there.
        if cached.facts is None or len(body) <= EMPTY_BYTES:
            begins = accounting.read_from(begins, status, head, len(body))
        self._count(status, len(body), cache, begins)

    def _has_ended(self) -> bool:
        """Whether who waits is admitted no more: the ordinary way looks at him anew then."""
        principal, guard = self._get.principal, self._route.access.guard
        if principal is None or guard is None or principal.until > self._shared.clock():
            return False
        if guard.goes_by_query and not self.is_collapsed:
            return False  # the origin has answered in his own name, and that is what counts
        self.goes_on(None)
        return True

    def _conceal(self) -> None:
        """Answer as where there is nothing, by the same rule as `admission.concealed`."""
        refusal = self._shared.problem(StreamNotFound(NO_STREAM))
        wire = self._shared.refusal(refusal, request_id=self._request_id())
        self._client.reply(wire)
        size = len(refusal.body)
        self._count(refusal.status, size, cache_status.BYPASS, counted.NOWHERE)

    def _request_id(self) -> str:
        if self._exchange is not None:
            return self._exchange.request_id
        return self._get.request_id or self._shared.lines.new_request_id()

    def _reply(self, head: list[bytes], body: bytes) -> None:
        """Write an answer, of whose head these are the parts."""
        head.append(body)
        if len(body) <= JOINED_BYTES:
            self._client.reply(b"".join(head))
        else:
            self._client.writelines(head)
            self._client.reply(b"")
        repeats, get = self._shared.repeats, self._get
        if repeats.looking:
            repeats.note(self._client.transport, "GET", get.target, get.headers)

    def goes_on(self, joined: Joined | None) -> None:
        """Of a ShortWaiter."""
        self._client.go_on_in_task(self._message, joined, self._began)

    def abandon(self) -> None:
        """Of a ShortWaiter."""
        self._client.abandon()

    def _left(self, _: object) -> None:
        """The client is gone."""
        assert self.fetch is not None, "it waits"
        self.fetch.leave_short(self)
        begins, exchange = counted.begins(self.request.read.offset), self._exchange
        if exchange is None:
            self._count(counted.CUT, 0, b"", begins)
        else:
            self._count_admission()
            exchange.begins = begins
            exchange.cut(self._shared.log, stopping=self._shared.closing)

    def _count(self, status: int, size: int, cache: bytes, begins: int) -> None:
        """Count it, and write its line in the log if there is to be one."""
        self._count_admission()
        exchange = self._exchange
        if exchange is None:
            result, seconds = accounting.result_of(cache), perf_counter() - self._began
            self._route.traffic.read(counted.READ, status, size, seconds, begins, result)
        else:
            exchange.cache_lines, exchange.begins = cache, begins
            exchange.answered(self._shared.log, status, size, "answered")

    def _count_admission(self) -> None:
        if self._route.access.guard is not None:
            self._route.traffic.decisions[counted.ADMITTED] += 1
