"""Spans by the OpenTelemetry SDK: HTTP semantic conventions, W3C trace context, export by OTLP.

The SDK reads its variables (OTEL_*) itself, and exports from a thread of its own, with a bounded
queue: requests never wait for it.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import contextmanager, suppress
from importlib.metadata import version
from threading import Thread
from time import time_ns
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from headgate_gateway.protocol.http.header_names import (
    SAMPLED,
    TRACEPARENT,
    TraceContext,
    parse_traceparent,
)
from headgate_gateway.telemetry.logs import as_utf8, log
from headgate_gateway.telemetry.span_export import CountedSpans, Exports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multidict import CIMultiDict, MultiMapping
    from opentelemetry.trace import Span

    Attributes = Mapping[str, str | int | float]

TRACESTATE = "tracestate"
# Of an attribute. 2,048 spans may wait, each with six texts that a client chose: 24 MB at worst.
LONGEST_TEXT = 2048
# A collector that is there takes what waits in less; one that is away must not hold up a stop.
LAST_EXPORT_S = 2.0


class RequestSpan:
    """The span of a request that is being answered. Calls after its end have no effect."""

    __slots__ = ("_origin_span", "_span", "continues")

    def __init__(self, span: Span, *, continues: bool) -> None:
        """`continues` says that the client's own span is its parent."""
        self._span = span
        self._origin_span: Span | None = None  # the latest request at an origin on its behalf
        self.continues = continues

    @property
    def trace_id(self) -> str | None:
        """The id of its trace; None if that is not recorded."""
        context = _context_of(self._span)
        return context.trace_id if context.is_sampled else None

    def asks(self, tracer: Tracer, attributes: Attributes) -> Span:
        """Begin the span of a request at an origin on behalf of this one."""
        self._origin_span = tracer.start(
            str(attributes["http.request.method"]),
            SpanKind.CLIENT,
            attributes,
            set_span_in_context(self._span, Context()),
        )
        return self._origin_span

    def link(self, leader: RequestSpan) -> None:
        """Link to the request at an origin whose result this request shares."""
        if self._span.is_recording():
            self._span.add_link((leader._origin_span or leader._span).get_span_context())

    def answered(self, status: int) -> None:
        """Note the status of the response; a client's mistake is no error of the server."""
        _tell_status(self._span, status, errors_from=500)

    def failed(self, why: str) -> None:
        """Note that no response follows, and why."""
        _tell_failure(self._span, why)

    def waits(self) -> None:
        """End it without an answer, which comes with the stream's next news."""
        if self._span.is_recording():
            self._span.set_attribute("headgate.waits", True)
            self._span.end()

    def end(self) -> None:
        """End the span, so that it is exported."""
        if self._span.is_recording():
            self._span.end()


class OriginSpan:
    """The span of a request at an origin, and the `headers` that name it there."""

    def __init__(self, span: Span, headers: CIMultiDict[str]) -> None:
        self._span = span
        self.headers = headers

    def answered(self, status: int) -> None:
        """Note the status of the response; 400 and above is an error to us, its client."""
        _tell_status(self._span, status, errors_from=400)

    def failed(self, why: str) -> None:
        """Note that no response came, and why."""
        _tell_failure(self._span, why)


class Tracer:
    """Makes the spans of a process, and has them exported until it is closed."""

    def __init__(self) -> None:
        self.exports = Exports()
        self._ended = CountedSpans(self.exports)
        # The operator may name the service; each process is an instance.
        own = {"service.name": "headgate", "service.version": version("headgate")}
        instance = {"service.instance.id": str(uuid.uuid4())}
        resource = Resource(own).merge(OTELResourceDetector().detect()).merge(Resource(instance))
        self._provider = TracerProvider(
            resource=Resource.create().merge(resource), shutdown_on_exit=False
        )
        self._provider.add_span_processor(self._ended)
        self._tracer = self._provider.get_tracer("headgate", version("headgate"))

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        parent: Context,
        start_ns: int | None = None,
    ) -> Span:
        """Start a span with these attributes."""
        return self._tracer.start_span(
            name, parent, kind, _exportable(attributes), start_time=start_ns
        )

    def request(
        self,
        name: str,
        attributes: Attributes,
        headers: MultiMapping[str],
        start_ns: int | None = None,
    ) -> RequestSpan:
        """Start the span of a request with these headers, part of the trace that they name."""
        named = parse_traceparent(headers.get(TRACEPARENT, ""))
        parent = Context() if named is None else _parent(named)
        span = self.start(name, SpanKind.SERVER, attributes, parent, start_ns)
        return RequestSpan(span, continues=named is not None)

    @contextmanager
    def asking(
        self, behalf: RequestSpan | None, attributes: Attributes, headers: CIMultiDict[str]
    ) -> Iterator[OriginSpan]:
        """Time a request at an origin, on behalf of one that is being answered if any."""
        if behalf is None:
            method = str(attributes["http.request.method"])
            span = self.start(method, SpanKind.CLIENT, attributes, Context())
        else:
            span = behalf.asks(self, attributes)
        named = headers.copy()
        named[TRACEPARENT] = format_traceparent(_context_of(span))
        if behalf is None or not behalf.continues:
            named.popall(TRACESTATE, None)  # of no trace that is known here
        try:
            yield OriginSpan(span, named)
        finally:
            span.end()

    def run(self, attributes: Attributes, lasted_s: float, status: str) -> None:
        """Make the span of a run that ends now with this status, which is a trace of its own."""
        name = f"run {attributes['http.route']}"
        attributes = {**attributes, "headgate.run.status": status}
        start_ns = time_ns() - int(lasted_s * 1e9)
        span = self.start(name, SpanKind.INTERNAL, attributes, Context(), start_ns)
        if status in {"failed", "orphaned"}:
            _tell_failure(span, status)
        span.end()

    async def close(self) -> None:
        """Export what is left, as far as the collector takes it in LAST_EXPORT_S."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is over already
                loop.call_soon_threadsafe(over.set)

        Thread(target=shut_down, daemon=True).start()
        try:
            async with asyncio.timeout(LAST_EXPORT_S):
                await over.wait()
        except TimeoutError:
            self.exports.shutdown()
        lost = self._ended.count - self.exports.count
        if lost:
            log.warning("tracing.spans_lost", spans=lost, reason=self.exports.reason)


def format_traceparent(context: TraceContext) -> str:
    """Format a traceparent in version 00, which has no flag but SAMPLED."""
    flags = context.flags & SAMPLED
    return f"00-{context.trace_id}-{context.span_id}-{flags:02x}"


def _exportable(attributes: Attributes) -> Attributes:
    """Cut the texts, which clients choose, and replace what is not UTF-8."""
    return {
        key: as_utf8(value, LONGEST_TEXT) if isinstance(value, str) else value
        for key, value in attributes.items()
    }


def _parent(named: TraceContext) -> Context:
    """Return the context of the named span, as a remote one."""
    trace_id, span_id = int(named.trace_id, 16), int(named.span_id, 16)
    context = SpanContext(trace_id, span_id, True, TraceFlags(named.flags))
    return set_span_in_context(NonRecordingSpan(context), Context())


def _context_of(span: Span) -> TraceContext:
    context = span.get_span_context()
    return TraceContext(
        format_trace_id(context.trace_id), format_span_id(context.span_id), context.trace_flags
    )


def _tell_status(span: Span, status: int, *, errors_from: int) -> None:
    if not span.is_recording():
        return
    span.set_attribute("http.response.status_code", status)
    if status >= errors_from:
        _tell_failure(span, str(status))


def _tell_failure(span: Span, why: str) -> None:
    if span.is_recording():
        span.set_attribute("error.type", why)
        span.set_status(Status(StatusCode.ERROR))
