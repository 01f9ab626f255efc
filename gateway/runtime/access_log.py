"""One log line a request, when the settings ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry.logs import request_line, requests_logged

if TYPE_CHECKING:
    from gateway.runtime.common_headers import CommonHeaders
    from gateway.settings import RequestLevel


class AccessLog:
    """`enabled` is fixed at start: the short ways of answering ask it for each request."""

    def __init__(self, level: RequestLevel, lines: CommonHeaders) -> None:
        self._level = level
        self._lines = lines
        self.enabled = requests_logged(level)

    def line(  # noqa: PLR0913 - the fields of the line
        self,
        method: str,
        target: str,
        status: int,
        size: int,
        mode: str,
        *,
        request_id: str | None = None,
        duration_s: float = 0.0,
    ) -> None:
        """Write it."""
        request_line(
            self._level,
            request_id=request_id or self._lines.new_request_id(),
            method=method,
            target=target,
            status=status,
            size=size,
            duration_s=duration_s,
            mode=mode,
        )
