"""A collector of traces that speaks OTLP over HTTP, and what it was sent."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from headgate_gateway.telemetry import tracing
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.telemetry.spans import Tracer

# Each batch after 20 ms: a test waits for it.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "20"}


class Told(NamedTuple):
    """A span as it was exported."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: list[str]
    attributes: dict[str, Any]
    is_error: bool
    duration_s: float
    resource: dict[str, Any]

    @property
    def status(self) -> int:
        """Of the answer."""
        status = self.attributes["http.response.status_code"]
        assert isinstance(status, int)
        return status

    @property
    def traceparent(self) -> str:
        """The header that names it."""
        return f"00-{self.trace_id}-{self.span_id}-01"


class Collector:
    """Listens on a loopback port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.spans: list[Told] = []
        self.received = b""  # everything, as it came

    @property
    def environment(self) -> dict[str, str]:
        """By which a gateway exports to it."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", **SOON}

    async def take(self, request: web.Request) -> web.Response:
        """Keep what was sent."""
        body = await request.read()
        message = ExportTraceServiceRequest.FromString(body)
        self.received += body
        for of_resource in message.resource_spans:
            resource = _values(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                self.spans += (_told(span, resource) for span in of_scope.spans)
        return web.Response(body=ExportTraceServiceResponse().SerializeToString())

    def named(self, name: str) -> list[Told]:
        """The spans of a name, in the order of their ends."""
        return [span for span in self.spans if span.name == name]

    async def one(self, name: str) -> Told:
        """The only span of a name, once it has come."""
        await self.several(name, 1)
        (span,) = self.named(name)
        return span

    async def several(self, name: str, count: int) -> list[Told]:
        """So many spans of a name, once they have come."""
        await until(lambda: len(self.named(name)) >= count)
        return self.named(name)


def _told(span: Any, resource: dict[str, Any]) -> Told:
    return Told(
        span.name,
        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        [link.span_id.hex() for link in span.links],
        _values(span.attributes),
        span.status.code == span.status.STATUS_CODE_ERROR,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        resource,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextlib.asynccontextmanager
async def collecting(port: int | None = None) -> AsyncIterator[Collector]:
    """A collector that listens until the block ends."""
    collector = Collector(port or free_port())
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", collector.port).start()
    try:
        yield collector
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def traced() -> AsyncIterator[Tracer]:
    """What makes spans, as the environment says; closed when the block ends."""
    tracer = tracing.start(os.environ)
    assert tracer is not None
    try:
        yield tracer
    finally:
        await tracer.close()
