"""A report of a server that answers, but with nothing except server errors (5xx).

It is a report only: requests go on, and the server keeps its turn. One stream that always gets an
error says nothing about the server, so a streak needs requests for two streams.
"""

from __future__ import annotations

from time import monotonic

from gateway.telemetry.logs import log

# Longer than a restart or a failover behind a load balancer, shorter than anybody's patience.
FAILING_AFTER_S = 10.0
FAILING_AFTER = 5  # requests: the first retries of one reader and one writer are fewer


class ErrorHistory:
    """The server errors of one server since its last other response."""

    __slots__ = ("_began_at", "_first", "_server", "_several", "count", "is_failing")

    def __init__(self, server: str) -> None:
        self._server = server
        self.count = 0  # 0 if the latest response was none
        self._began_at = 0.0  # monotonic time
        self._first = ""  # the path of the first request
        self._several = False  # another path was requested, too
        self.is_failing = False

    @property
    def why(self) -> str | None:
        """The reason why the server counts as failing; None if it does not."""
        if not self.is_failing:
            return None
        return f"has answered nothing but 5xx for {monotonic() - self._began_at:.0f} s"

    def note(self, status: int, target: str, *, is_probe: bool = False) -> None:
        """Note a response, and log the begin and the end of a failure.

        Errors to probes need no second path. A probe that succeeds hides no errors to requests.
        """
        if status < 500:
            if not is_probe:
                self.end()
            return
        path, now = target.partition("?")[0], monotonic()
        if not self.count:
            self._first, self._began_at = path, now
        self.count += 1
        self._several = self._several or is_probe or path != self._first
        is_long = now - self._began_at >= FAILING_AFTER_S
        if is_long and self._several and self.count >= FAILING_AFTER and not self.is_failing:
            self.is_failing = True
            log.warning("origin.failing", server=self._server, status=status, reason=self.why)

    def end(self) -> None:
        """Note that the server has answered something else, or cannot be reached any more."""
        if self.is_failing:
            lasted_s = round(monotonic() - self._began_at, 1)
            log.info("origin.not_failing", server=self._server, lasted_s=lasted_s)
        self.count, self._several, self.is_failing = 0, False, False
