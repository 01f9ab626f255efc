"""The line in the log about beats that fail, which come twice a second."""

from __future__ import annotations

from gateway.errors import HeadgateError
from gateway.telemetry.logs import log


class BeatFailures:
    """The failures of one route's beats. That the log cannot be reached, the log itself reports."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._fault = ""  # the latest one, since a beat has succeeded
        self.reason = ""  # why the log refused the latest beat; empty once one has succeeded

    def succeed(self) -> None:
        """Note that a beat has succeeded."""
        self._fault = self.reason = ""

    def note(self, error: Exception) -> None:
        """Log the fault that is being handled, unless the same goes on."""
        self.reason = error.detail if isinstance(error, HeadgateError) else ""
        if not isinstance(error, HeadgateError) and (fault := repr(error)) != self._fault:
            self._fault = fault
            log.exception("subscription.lease_not_seen", route=self._route)
