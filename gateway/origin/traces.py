"""The traces that requests to an origin belong to."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from gateway.errors import HeadgateError
from gateway.protocol import http1
from gateway.protocol.http.trace_context import TRACEPARENT, parse_traceparent
from gateway.telemetry import tracing
from gateway.telemetry.logs import redact

if TYPE_CHECKING:
    from contextvars import Context

    from gateway.origin.requests import OriginRequest
    from gateway.origin.servers import OriginServer
    from gateway.telemetry.spans import Tracer


class AttemptSpan:
    """The span of a request at one server, below that of the request in `context`, if any.

    `fields` are the header lines by which the server gets to know it.
    """

    def __init__(
        self,
        tracer: Tracer,
        context: Context,
        request: OriginRequest,
        server: OriginServer,
        *,
        is_repetition: bool,
    ) -> None:
        headers: CIMultiDict[str] = CIMultiDict(http1.parse_field_lines(request.fields))
        attributes = _attributes(request, server)
        if is_repetition:
            attributes["http.request.resend_count"] = 1
        self._end = ExitStack()
        asking = tracer.asking(context.get(tracing.current), attributes, headers)
        self._span = self._end.enter_context(asking)
        self.fields = http1.field_lines(self._span.headers.items())

    def answered(self, status: int) -> None:
        """Note the status of the answer, and end the span."""
        self._span.answered(status)
        self._end.close()

    def failed(self, error: Exception | None) -> None:
        """Note why there is no answer, which is None if nobody waits any more; end the span."""
        if isinstance(error, HeadgateError):
            self._span.failed(error.code)
        self._end.close()


def _attributes(request: OriginRequest, server: OriginServer) -> dict[str, str | int]:
    """Return the attributes of a span, by the semantic conventions for HTTP clients."""
    host, port = server.endpoint
    return {
        "http.request.method": request.method,
        "url.full": redact(server.origin + server.own(request.target)),
        "server.address": host,
        "server.port": port,
    }


def trace_id_of(request: OriginRequest, context: Context | None) -> str | None:
    """Return the id of the recorded trace of a request, ours or else its client's; else None."""
    span = None if context is None else context.get(tracing.current)
    if span is not None:
        return span.trace_id
    for name, value in http1.parse_field_lines(request.fields):
        if name.lower() == TRACEPARENT and (parsed := parse_traceparent(value)) is not None:
            return parsed.trace_id if parsed.is_sampled else None
    return None
