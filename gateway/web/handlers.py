"""The ordinary way of a request: parse, find its route, operate, answer."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.web import RequestPayloadError

from gateway.cache.store import Entry
from gateway.errors import (
    BadRequest,
    BodyTooLarge,
    CodingNotSupported,
    HeadgateError,
    MethodNotAllowed,
    RequestTimeout,
    ServerStopping,
)
from gateway.live.event_reader import EventReader
from gateway.protocol import http1, responses
from gateway.protocol.cursors import cursor_floor
from gateway.protocol.paths import canonical_path, parse_query
from gateway.protocol.requests import (
    Live,
    Read,
    parse_append,
    parse_create,
    parse_target,
    resumed,
)
from gateway.telemetry.logs import log
from gateway.web.answers import HandedOver, WireResponse
from gateway.web.connection import Connection
from gateway.web.route import LiveRead

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.web_request import BaseRequest

    from gateway.protocol.appends import Appended
    from gateway.protocol.responses import Response
    from gateway.web.route import Route, Routes
    from gateway.web.shared import Shared

CLIENT_GONE = 499  # what proxies log where nobody is left to be answered
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_HOST = re.compile(r"[A-Za-z0-9._~-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class _Poll:
    """A long-poll whose answer a task waits for."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def answer(self, response: Response | None, wire: bytes) -> None:  # noqa: ARG002 - a Waiter
        """Take the answer as a value."""
        if response is not None and not self.answered.done():
            self.answered.set_result(response)


class Handlers:
    """One method for each operation; `handle` is what aiohttp calls."""

    def __init__(self, routes: Routes, shared: Shared) -> None:
        self._routes = routes
        self._shared = shared
        self._lines = shared.lines
        self._limits = shared.limits
        self._log = shared.log

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        began = asyncio.get_running_loop().time()
        asked = _asked_id(request)
        request_id = asked or self._lines.new_request_id()
        keep_alive = not request._message.should_close and not self._shared.closing
        mode = request.method.lower()
        abandon = False
        answer: Response | Entry | None
        try:
            answer = await self._operate(request)
        except HeadgateError as refusal:
            answer = responses.problem(refusal)
            abandon = isinstance(refusal, RequestTimeout)
            keep_alive = keep_alive and not abandon
        except ConnectionError:
            return WireResponse(CLIENT_GONE, b"", keep_alive=False)
        except RequestPayloadError as error:
            answer = responses.problem(BadRequest(f"the body is not valid HTTP: {error}"))
            keep_alive = False
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and we a log line
            log.exception("request.failed", request_id=request_id, method=request.method)
            answer = responses.internal_error(request_id)
        if answer is None:
            return HandedOver()
        status = answer.status if isinstance(answer, responses.Response) else 200
        shown = request_id if status >= 400 else asked
        wire = self._wire(request, answer, shown, keep_alive=keep_alive)
        if self._log.enabled:
            duration = asyncio.get_running_loop().time() - began
            self._log.line(
                request.method,
                request.path_qs,
                status,
                len(wire),
                mode,
                request_id=request_id,
                duration_s=duration,
            )
        return WireResponse(status, wire, keep_alive=keep_alive, abandon=abandon)

    def _wire(
        self,
        request: BaseRequest,
        answer: Response | Entry,
        request_id: str | None,
        *,
        keep_alive: bool,
    ) -> bytes:
        connection = None if keep_alive else "close"
        if keep_alive and request.version.minor == 0:
            connection = "keep-alive"
        common = self._lines.own(
            request_id=request_id, origin=request.headers.get("Origin"), connection=connection
        )
        if isinstance(answer, Entry):
            return b"".join((http1.status_line(200), common, answer.rest))
        if request.method == "HEAD":
            return http1.serialize_head(answer, common)
        return http1.serialize(answer, common)

    async def _operate(self, request: BaseRequest) -> Response | Entry | None:
        if request.version not in {HttpVersion10, HttpVersion11}:
            raise BadRequest("only HTTP/1.0 and HTTP/1.1 are spoken here")
        target = _target(request)
        match request.method:
            case "GET":
                return await self._get(request, target)
            case "POST":
                return await self._append(request, *self._find(target))
            case "PUT":
                return await self._create(request, *self._find(target))
            case "HEAD":
                return await self._head(*self._find(target))
            case "DELETE":
                return await self._delete(*self._find(target))
            case "OPTIONS":
                return responses.preflight()
            case _:
                raise MethodNotAllowed(f"{request.method[:32]} has no meaning for a stream")

    def _find(self, target: str) -> tuple[Route, str]:
        raw_path, _, raw_query = target.partition("?")
        parse_query(raw_query)
        return self._routes.find(canonical_path(raw_path))

    # Reads

    async def _get(self, request: BaseRequest, target: str) -> Response | Entry | None:
        read = parse_target(target)
        if not isinstance(read, Read):
            raise type(read)(read.detail)
        last_event_id = request.headers.get("Last-Event-ID")
        read = resumed(read, last_event_id)
        route, name = self._routes.find(read.path)
        answer = await route.read(read, name, request.headers.get("If-None-Match"))
        if not isinstance(answer, LiveRead):
            return answer
        if self._shared.closing:
            raise ServerStopping("the server is stopping: connect again")
        if read.live is Live.SSE:
            if last_event_id and answer.state.closed and answer.start == answer.state.tail:
                # It was told of the end already; a 204 keeps a browser from asking for ever.
                return responses.poll_ended(answer.state, read, route.clock())
            at = await route.prepare_events(answer)
            self._stream_events(request, route, read, at)
            return None
        poll = _Poll()
        feed = route.feed(answer.hot, answer.state)
        feed.park(poll, read)
        try:
            return await poll.answered
        finally:
            feed.leave(poll)

    def _stream_events(self, request: BaseRequest, route: Route, read: Read, at: LiveRead) -> None:
        """Write the head, then let the feed have the connection."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        feed = route.feed(at.hot, at.state)
        chunked = request.version.minor > 0
        common = self._lines.own(
            request_id=_asked_id(request),
            origin=request.headers.get("Origin"),
            connection=None,
        )
        head = responses.event_stream(at.state)
        transport.write(http1.stream_head(head, common, chunked=chunked))
        floor = cursor_floor(route.clock(), read.cursor, at.state.stream_id, at.start)
        connection = request.protocol
        assert isinstance(connection, Connection), "only a ConnectionServer calls the handlers"
        reader = EventReader(
            transport,
            feed,
            at.start,
            floor,
            chunked=chunked,
            host=connection.server,
        )
        reader.paused = connection.writing_paused  # by an answer that the client has not read yet
        connection.hand_over(reader)
        feed.join(reader)
        if self._log.enabled:
            self._log.line("GET", request.path_qs, 200, 0, "sse")

    async def _head(self, route: Route, name: str) -> Response:
        hot = await route.table.load(name)
        return responses.metadata(route.table.present(hot))

    # Writes

    async def _append(self, request: BaseRequest, route: Route, name: str) -> Response:
        append = parse_append(request.headers, await self._body(request))
        done: asyncio.Future[Appended | HeadgateError] = asyncio.get_running_loop().create_future()
        route.appender.submit(name, append, done.set_result)
        outcome = await done
        if isinstance(outcome, HeadgateError):
            raise outcome
        return responses.appended(outcome)

    async def _create(self, request: BaseRequest, route: Route, name: str) -> Response:
        create = parse_create(request.headers, await self._body(request))
        source = None
        if create.fork is not None:
            source_route, source = self._routes.find(canonical_path(create.fork.source))
            if source_route is not route:
                raise BadRequest("Stream-Forked-From must name a stream of the same route")
        created = await route.lifecycle.create(name, create, source)
        host = request.headers.get("Host", "")
        origin = f"{request.scheme}://{host}" if _HOST.fullmatch(host) else ""
        return responses.created(created, f"{origin}{route.prefix}/{name}")

    async def _delete(self, route: Route, name: str) -> Response:
        await route.lifecycle.delete(name)
        return responses.deleted()

    async def _body(self, request: BaseRequest) -> bytes:
        """The whole body, within `max_append` bytes and `body_timeout` between its parts."""
        headers = request.headers
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise CodingNotSupported("send the body without Content-Encoding")
        limit = self._limits.max_append
        if (request.content_length or 0) > limit:
            raise BodyTooLarge(limit)
        if headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(CONTINUE)
        return await self._receive(request, limit)

    async def _receive(self, request: BaseRequest, limit: int) -> bytes:
        """The parts as they come; what all requests together have received is bounded too."""
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                try:
                    async with asyncio.timeout(self._shared.timeouts.body):
                        part = await request.content.readany()
                except TimeoutError as error:
                    raise RequestTimeout("the rest of the body did not come in time") from error
                if not part:
                    return b"".join(parts)
                size += len(part)
                if size > limit:
                    raise BodyTooLarge(limit)
                self._limits.receive(len(part))
                parts.append(part)
        finally:
            self._limits.receiving_bytes -= sum(map(len, parts))


def _asked_id(request: BaseRequest) -> str | None:
    """The id that the client gives its request, when it is one that a log line can hold."""
    asked = request.headers.get("X-Request-Id", "")
    return asked if _REQUEST_ID.fullmatch(asked) else None


def _target(request: BaseRequest) -> str:
    """The path and query as the client sent them; an absolute form must name this host."""
    raw: str = request._message.path  # it stands unchanged nowhere else
    if raw.startswith("/") or raw == "*":
        return raw
    parts = urlsplit(raw)
    if parts.scheme not in {"http", "https"} or parts.netloc != request.headers.get("Host"):
        raise BadRequest("the request target is not a path, nor a URL of the host in Host")
    return f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
