"""The export of spans by OTLP over HTTP, and how many of them arrive."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from typing_extensions import override

from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

# It warns of each span for which its queue has no room, on the event loop.
_QUEUE = logging.getLogger("opentelemetry.sdk._shared_internal")
_EXPORTER = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")


class _Reasons(logging.Filter):
    """A filter that drops the exporter's lines on each attempt; `first` has the reason."""

    first = ""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Refuse every record."""
        self.first = self.first or record.getMessage()
        return False


_REASONS = _Reasons()


class Exports(SpanExporter):
    """Counts what the collector has taken, and logs when it takes no more, or does again.

    It is called from the thread that exports.
    """

    def __init__(self) -> None:
        self._exporter = OTLPSpanExporter()
        self._is_over = False
        self.count = 0
        self.failures = 0  # batches in a row that were not taken
        _EXPORTER.addFilter(_REASONS)

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        _REASONS.first = ""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.count += len(spans)
            if self.failures:
                log.info("tracing.export_recovered")
            self.failures = 0
            return result
        if not (self.failures or self._is_over):
            log.warning("tracing.export_failed", reason=self.reason)
        self.failures += 1
        return result

    @property
    def reason(self) -> str:
        """The reason why the latest batch was not taken; empty if it was."""
        return _REASONS.first

    @override
    def shutdown(self) -> None:
        """Send no more, and wait for nothing; safe to call twice."""
        if not self._is_over:
            self._is_over = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


class CountedSpans(BatchSpanProcessor):
    """The queue of ended spans, with their count: those that are not exported are lost."""

    def __init__(self, exports: Exports) -> None:
        super().__init__(exports)
        self.count = 0
        _QUEUE.setLevel(logging.ERROR)

    @override
    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled."""
        if span.context is not None and span.context.trace_flags.sampled:
            self.count += 1
        super().on_end(span)
