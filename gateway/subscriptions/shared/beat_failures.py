"""The lines in the log about beats that fail: few for an outage, and one for a fault."""

from __future__ import annotations

from gateway.errors import HeadgateError
from gateway.telemetry.logs import log
from gateway.telemetry.rare_lines import OutageLine


class BeatFailures:
    """The failures of one route's beats, which come twice a second while the log is away."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._succeeded = 0  # beats
        self._fault = ""  # the latest one, since a beat has succeeded
        self._outage = OutageLine(
            "subscription.lease_failed", "subscription.lease_recovered", lambda: self._succeeded
        )

    def succeed(self) -> None:
        """Count a beat that has succeeded."""
        self._succeeded += 1
        self._fault = ""

    def note(self, error: Exception) -> None:
        """Log the failure that is being handled, unless the same goes on."""
        if isinstance(error, HeadgateError):
            self._outage.note(route=self._route, reason=error.detail)
        elif (fault := repr(error)) != self._fault:
            self._fault = fault
            log.exception("subscription.lease_not_seen", route=self._route)

    def close(self) -> None:
        """Write what was not logged so far."""
        self._outage.close()
