"""Make a span for each request, by OpenTelemetry's semantic conventions for HTTP servers.

A span ends when the head of the response is known: a live read goes on for hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.errors import HeadgateError
from headgate_gateway.protocol.http.paths import canonical_path
from headgate_gateway.telemetry.logs import redact
from headgate_gateway.web.requests import request_head

if TYPE_CHECKING:
    from asyncio import BaseTransport

    from multidict import MultiMapping

    from headgate_gateway.routes.contract import PlainGet
    from headgate_gateway.routes.router import Router
    from headgate_gateway.telemetry.spans import RequestSpan, Tracer
    from headgate_gateway.web.requests.request import Request

_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)


class ServerSpans:
    """The maker of spans for requests below some routes."""

    def __init__(self, tracer: Tracer, routes: Router) -> None:
        self._tracer = tracer
        self._routes = routes

    def start(self, request: Request) -> RequestSpan:
        """Return the span of a request that has just been received."""
        return self._begin(
            request.method,
            _target(request),
            request.headers,
            request.transport,
            version=f"{request.version.major}.{request.version.minor}",
        )

    def cached(
        self, get: PlainGet, transport: BaseTransport | None, status: int, now: float
    ) -> None:
        """Export the span of a GET answered by the cache that began at `now` (epoch seconds)."""
        span = self._begin(
            "GET", get.target, get.headers, transport, version="1.1", start_ns=int(now * 1e9)
        )
        span.answered(status)
        span.end()

    def _begin(
        self,
        method: str,
        target: str,
        headers: MultiMapping[str],
        transport: BaseTransport | None,
        *,
        version: str,
        start_ns: int | None = None,
    ) -> RequestSpan:
        known = method in _METHODS
        path, _, query = redact(target).partition("?")
        attributes: dict[str, str | int] = {
            "http.request.method": method if known else "_OTHER",
            "url.path": path,
            "url.scheme": request_head.scheme_by(transport),
            "network.protocol.version": version,
            **_named_server(headers.get("Host", "")),
        }
        if not known:
            attributes["http.request.method_original"] = method
        if query:
            attributes["url.query"] = query
        if "User-Agent" in headers:
            attributes["user_agent.original"] = headers["User-Agent"]
        peer = None if transport is None else transport.get_extra_info("peername")
        if peer:
            attributes["client.address"] = peer[0]
        name = method if known else "HTTP"
        try:
            route, stream = self._routes.find(canonical_path(path))
        except HeadgateError:
            return self._tracer.request(name, attributes, headers, start_ns)
        template = f"{route.prefix}/{{stream}}"
        attributes["http.route"] = template
        attributes["headgate.stream.name"] = stream
        return self._tracer.request(f"{name} {template}", attributes, headers, start_ns)


def _target(request: Request) -> str:
    """Return the target; empty for a URL of another host, which may hold a password."""
    try:
        return request_head.target(request)
    except HeadgateError:
        return ""


def _named_server(host: str) -> dict[str, str | int]:
    """Return the span attributes for the requested host, and for its port if it has one."""
    if not host or not request_head.is_host(host):
        return {}
    name, colon, port = host.rpartition(":")
    if not colon or "]" in port:
        return {"server.address": host.strip("[]")}
    named: dict[str, str | int] = {"server.address": name.strip("[]")}
    if port:
        named["server.port"] = int(port)
    return named
