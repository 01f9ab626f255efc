"""An SSE reader of whose end there is to be a log line."""

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

    `tell_end` is told them, and what has ended the answer.
    """

    __slots__ = ("_sent", "_tell_end")

    def __init__(  # noqa: PLR0913 - a reader's, and whom to tell
        self,
        transport: asyncio.Transport,
        readers: SseReaders[Any, Any],
        position: str,
        cursor: int,
        *,
        chunked: bool,
        server: ReaderServer,
        tell_end: Callable[[Ended, int], None],
    ) -> None:
        super().__init__(transport, readers, position, cursor, chunked=chunked, server=server)
        self._sent = 0
        self._tell_end = tell_end

    @override
    def write(self, framed: bytes) -> None:
        """Write what is one or more chunks of a chunked body."""
        self._sent += len(http1.unframe(framed))
        super().write(framed)

    @override
    def send(self, data_event: bytes, control_event: bytes) -> None:
        """Write them as one chunk."""
        self._sent += len(data_event) + len(control_event)
        super().send(data_event, control_event)

    @override
    def left(self, ended: Ended) -> None:
        """Report the reader's end, with the bytes that it was written."""
        self._tell_end(ended, self._sent)
