"""An SSE reader whose end is written to the access log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gateway.live.sse_readers import SseReader
from gateway.protocol import http1

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.live.contract import ReaderServer
    from gateway.live.sse_readers import SseReaders
    from gateway.telemetry.live_traffic import Ended


class LoggedSseReader(SseReader):
    """An SSE reader that counts the bytes written to it, at a small cost for each delivery.

    `on_end` is called with what ended the response, and with that number.
    """

    __slots__ = ("_on_end", "_sent")

    def __init__(  # noqa: PLR0913 - a reader's, and a callback
        self,
        transport: asyncio.Transport,
        readers: SseReaders[Any, Any],
        position: str,
        cursor: int,
        *,
        chunked: bool,
        server: ReaderServer,
        on_end: Callable[[Ended, int], None],
    ) -> None:
        super().__init__(transport, readers, position, cursor, chunked=chunked, server=server)
        self._sent = 0
        self._on_end = on_end

    @override
    def write(self, framed: bytes) -> None:
        self._sent += len(http1.unframe(framed))
        super().write(framed)

    @override
    def write_events(self, data_event: bytes, control_event: bytes) -> None:
        self._sent += len(data_event) + len(control_event)
        super().write_events(data_event, control_event)

    @override
    def note_end(self, ended: Ended) -> None:
        """Report the end of the response, with the number of bytes written."""
        self._on_end(ended, self._sent)
