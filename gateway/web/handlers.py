"""The ordinary way of a request: find its route, operate, answer whatever happens."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp.web import RequestPayloadError

from gateway.cache.rendered import RenderedChunk
from gateway.errors import (
    OF_THE_ORIGIN,
    HeadgateError,
    RequestTimeout,
)
from gateway.protocol import cache_status, http1, responses
from gateway.protocol.target import canonical_target, split
from gateway.runtime.answer import Answered, Relayed
from gateway.runtime.exchange import CLIENT_GONE
from gateway.telemetry.logs import log
from gateway.web import accounting, charges, request_head, web_origins
from gateway.web.admission import admit, concealed
from gateway.web.front_page import front_page
from gateway.web.responses import (
    HandedOver,
    StreamedResponse,
    WireResponse,
    bodyless,
    head_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context
    from gateway.runtime.exchange import Exchange
    from gateway.runtime.route import StreamRoute
    from gateway.web.request import Request
    from gateway.web.router import Router

    # What can be asked of the streams of one kind of route; None when the connection went with it.
    Operate = Callable[[Request, str, Any, str], Awaitable[Answered | None]]


# Targets that were found lately: clients ask for the same few again and again. 3 MB at worst.
REMEMBERED = 2048
LONGEST_FOUND = 1024


class _Place(NamedTuple):
    """Where a target leads: its one form, the path of that, its route, and the stream's name."""

    target: str
    path: str
    route: StreamRoute
    name: str


class Handlers:
    """`handle` is what connections call."""

    def __init__(
        self, routes: Router, operations: Mapping[type[StreamRoute], Operate], shared: Context
    ) -> None:
        missing = {type(route) for route in routes} - operations.keys()
        assert not missing, f"no operations for {missing}"
        self._routes = routes
        self._shared = shared
        self._lines = shared.lines
        self._repeats = shared.repeats
        self._operations = operations
        self._found = lru_cache(REMEMBERED)(self._find)

    async def handle(self, request: Request) -> WireResponse:
        """Answer one request."""
        asked = request_head.asked_id(request)
        request_id = asked or self._lines.new_request_id()
        exchange = accounting.begin(request, self._shared, request_id)
        request.exchange = exchange
        if self._repeats.looking:
            target = accounting.shown_target(request, self._shared)
            self._repeats.note(request.transport, request.method, target, request.headers)
        answered: Answered | None
        abandon = False
        try:
            answered = await self._operate(request, exchange)
        except HeadgateError as refusal:
            answered = Answered(self._shared.problem(refusal), _cache_lines(request, refusal))
            if isinstance(refusal, accounting.NOT_LOOKED_UP):
                exchange.is_looked_up = False
            abandon = isinstance(refusal, RequestTimeout)
        except ConnectionError:
            return WireResponse(CLIENT_GONE, b"", keep_alive=False)
        except RequestPayloadError as error:
            bad = request_head.bad_body(error)
            answered = Answered(self._shared.problem(bad), cache_status.BYPASS)
            abandon = True
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and we a log line
            log.exception("request.failed", request_id=request_id, method=request.method)
            answered = Answered(responses.internal_error(request_id), cache_status.BYPASS)
        if answered is None:
            return HandedOver()
        answered = concealed(answered, exchange, self._shared)
        status = 200 if isinstance(answered.answer, RenderedChunk) else answered.answer.status
        shown = request_id if status >= 400 else asked
        accounting.told(exchange, answered, status)
        response = self._response(request, answered, status, shown, abandon=abandon)
        exchange.sent = response
        return response

    def _place(self, request: Request) -> _Place | Answered:
        """Return where a request leads, or the answer to one that leads to no stream.

        Raises HeadgateError.
        """
        if not request.fields.are_known:
            request_head.check(request)
            self._shared.hosts.check(request.headers.get("Host", ""))
        raw = request.target
        # With a query it may have a token in it, which is kept nowhere.
        is_path = raw.startswith("/") and 1 < len(raw) <= LONGEST_FOUND and "?" not in raw
        if is_path and request.method != "OPTIONS":
            return self._found(raw)
        target = request_head.target(request)
        if request.method == "OPTIONS" and (
            target == "*" or "Access-Control-Request-Method" in request.headers
        ):
            is_guarded = self._lines.is_guarded and self._takes_tokens(target)
            said = web_origins.preflight(request, self._lines, is_guarded=is_guarded)
            return Answered(said, cache_status.OTHER_METHOD)
        path, _ = split(target)
        if path == "/":
            return self._front_page(request)
        return _Place(target, path, *self._routes.find(path))

    def _find(self, raw: str) -> _Place:
        """Return where a path leads. Raises HeadgateError."""
        path = canonical_target(raw)
        return _Place(path, path, *self._routes.find(path))

    async def _operate(self, request: Request, exchange: Exchange) -> Answered | None:
        place = self._place(request)
        if isinstance(place, Answered):
            return place
        target, path, route, name = place
        accounting.belongs(exchange, route)
        clock = self._shared.clock
        presented = await admit(request, exchange, route, path, target, clock)
        if request.method == "GET":
            accounting.found(exchange, request, route, presented.target, clock())
        else:
            has_token = presented.token is not None and exchange.principal is not None
            is_guarded = route.access.guard is not None
            web_origins.check(request, self._lines, is_guarded=is_guarded, has_token=has_token)
            charges.charge(request, exchange, self._shared.quotas)
        return await self._operations[type(route)](request, presented.target, route, name)

    def _takes_tokens(self, target: str) -> bool:
        """Whether a token could let a page write there; to `*` nobody writes."""
        try:
            route, _ = self._routes.find(split(target)[0])
        except HeadgateError:
            return False
        return route.access.guard is not None

    def _front_page(self, request: Request) -> Answered:
        prefixes = [route.prefix for route in self._routes]
        accept = ",".join(request.headers.getall("Accept", ()))
        base_url = request_head.base_url(request)
        page = front_page(request.method, prefixes, base_url, accept)
        return Answered(page, cache_status.BYPASS)

    def _response(
        self,
        request: Request,
        answered: Answered,
        status: int,
        request_id: str | None,
        *,
        abandon: bool,
    ) -> WireResponse:
        answer, cache = answered
        ends = request.is_last or (self._shared.closing and not request.is_followed)
        keep_alive = not (abandon or ends)
        if isinstance(answer, Relayed) and _ends_with_connection(request, answer):
            keep_alive = False
        connection = None if keep_alive else "close"
        if keep_alive and request.version.minor == 0:
            connection = "keep-alive"
        relayed = answer if isinstance(answer, Relayed) else None
        common = self._lines.own(
            request_id=request_id,
            origin=request.fields.headers.get("Origin"),
            connection=connection,
            date=relayed is None or relayed.own_date,
            cors=_is_for_us_to_say(answer),
        )
        if isinstance(answer, Relayed):
            timeout_s = self._shared.timeouts.body
            lines = common + cache
            return _relay(request, answer, lines, timeout_s, keep_alive=keep_alive, abandon=abandon)
        if isinstance(answer, RenderedChunk):
            head = b"".join((http1.status_line(200), common, cache, answer.lines))
            return WireResponse(
                status,
                head,
                answer.body,
                keep_alive=keep_alive,
                body_size=len(answer.body),
                abandon=abandon,
            )
        if request.method == "HEAD":
            wire, size = http1.serialize_head(answer, common + cache), 0
        else:
            wire, size = http1.serialize(answer, common + cache), len(answer.body)
        return WireResponse(status, wire, keep_alive=keep_alive, body_size=size, abandon=abandon)


def _cache_lines(request: Request, refusal: HeadgateError) -> bytes:
    if not isinstance(refusal, OF_THE_ORIGIN):
        return cache_status.BYPASS
    return cache_status.FAILED if request.method == "GET" else cache_status.OTHER_METHOD


def _is_for_us_to_say(answer: RenderedChunk | Response | Relayed) -> bool:
    """Whether the answer does not say itself whose pages may read it."""
    if isinstance(answer, Relayed):
        return answer.own_cors
    return isinstance(answer, RenderedChunk) or not answer.names_pages


def _ends_with_connection(request: Request, answer: Relayed) -> bool:
    """Whether only that tells the end of the body, to a client who knows no chunks."""
    return request.version.minor == 0 and answer.length is None and request.method != "HEAD"


def _relay(
    request: Request,
    answer: Relayed,
    lines: bytes,
    timeout_s: float,
    *,
    keep_alive: bool,
    abandon: bool,
) -> WireResponse:
    status, body = answer.status, answer.body
    if request.method == "HEAD" or not http1.has_body(status):
        if not isinstance(body, bytes):
            body.release()  # at once, however long the client takes for the head
        wire = bodyless(answer, lines)
        return WireResponse(status, wire, keep_alive=keep_alive, abandon=abandon)
    knows_chunks = request.version.minor > 0
    head = head_of(answer, lines, knows_chunks=knows_chunks)
    if isinstance(body, bytes):
        return WireResponse(
            status, head, body, keep_alive=keep_alive, body_size=len(body), abandon=abandon
        )
    return StreamedResponse(
        status,
        head,
        body,
        timeout_s=timeout_s,
        chunked=answer.length is None and knows_chunks,
        keep_alive=keep_alive,
        abandon=abandon,
    )
