"""What an origin has answered without a task, as its client is told it and as it is counted.

The same bytes and figures as by `handlers`, `edge_presentation` and `accounting`, for who wants an
answer whole.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from gateway.live.contract import Parkable
from gateway.protocol import http1
from gateway.runtime.answer import Answered, Relayed
from gateway.runtime.exchange import Exchange
from gateway.telemetry import traffic as counted
from gateway.web import accounting
from gateway.web.responses import JOINED_BYTES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp.http_parser import RawRequestMessage

    from gateway.cache.http_cache import CacheResult, Joined
    from gateway.cache.private_fields import Recipient
    from gateway.protocol.requests import Read
    from gateway.runtime.context import Context
    from gateway.runtime.route import PlainGet, StreamRoute
    from gateway.telemetry.live_traffic import Ended

    Request = RawRequestMessage | bytes  # the bytes of one that need not be parsed before


class Client(Parkable, Protocol):
    """A connection that may wait, and may be given to aiohttp then."""

    transport: asyncio.Transport | None

    def go_on_in_task(self, request: Request, joined: Joined | None, began: float) -> None:
        """Have aiohttp handle the request for which it was kept."""


class _Sent:
    """An answer that was written."""

    __slots__ = ("body_sent", "ended", "status")

    def __init__(self, status: int, body_sent: int, ended: Ended) -> None:
        self.status = status
        self.body_sent = body_sent
        self.ended: Ended | None = ended


class ShortMiss:
    """One read that waits: an OriginReader."""

    __slots__ = ("_began", "_client", "_get", "_request", "_route", "_shared")

    def __init__(
        self,
        shared: Context,
        route: StreamRoute,
        client: Client,
        get: PlainGet,
        request: Request,
    ) -> None:
        self._began = perf_counter()
        self._shared = shared
        self._route = route
        self._client = client
        self._get = get
        self._request = request

    def wait(self, on_lost: Callable[[object], object]) -> None:
        """Of an OriginReader."""
        self._client.take(on_lost)

    def given(self, read: Read, recipient: Recipient, result: CacheResult) -> None:
        """Of an OriginReader."""
        shared, get, cached = self._shared, self._get, result.cached
        status, body = cached.status, cached.body
        head = cached.told(recipient, known=result.tail_is_known)
        relayed = Relayed(status, head, body, len(body), cached.own_date, cached.own_cors)
        exchange = self._exchange(read)
        accounting.told(exchange, Answered(relayed, result.cache), status)
        date, cors = shared.lines.parts_at(shared.clock())
        lines = [
            head,
            date if cached.own_date else b"",
            cors if cached.own_cors else b"",
            shared.lines.referrer,
        ]
        if status >= 400:
            exchange.request_id = shared.lines.new_request_id()
            lines.append(f"X-Request-Id: {exchange.request_id}\r\n".encode())
        lines.append(result.cache)
        has_body = http1.has_body(status)
        lines.append(b"Content-Length: %d\r\n\r\n" % len(body) if has_body else b"\r\n")
        wire = b"".join(lines)
        if len(body) <= JOINED_BYTES:
            is_there = self._client.reply(wire + body)
        else:
            self._client.write(wire)
            is_there = self._client.reply(body)
        exchange.sent = _Sent(status, len(body), "answered" if is_there else "client")
        exchange.finish(0, shared.log, stopping=shared.closing)
        if shared.repeats.looking:
            shared.repeats.note(self._client.transport, "GET", get.target, get.headers)

    def goes_on(self, joined: Joined | None) -> None:
        """Of an OriginReader."""
        self._client.go_on_in_task(self._request, joined, self._began)

    def abandon(self) -> None:
        """Of an OriginReader."""
        self._client.abandon()

    def left(self, read: Read) -> None:
        """Of an OriginReader."""
        shared = self._shared
        self._exchange(read).finish(0, shared.log, stopping=shared.closing)

    def _exchange(self, read: Read) -> Exchange:
        exchange = Exchange(self._route.traffic, counted.READ, "", self._began)
        exchange.route = self._route.prefix
        exchange.begins = counted.begins(read.offset)
        return exchange
