"""The last requests to each route: when they came, and whether those of a kind failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate_admin.alerting.findings import IncidentFinding
from headgate_admin.record.figures import COLUMN, OUTCOMES
from headgate_gateway.telemetry.health import Cause, HealthNote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from headgate_admin.record.figures import Row

IDLE_S = 300.0  # a route without requests for as long is idle
FAILED_S = 900.0  # a failure counts for as long if no request of its kind follows
BEGINS, GOES_ON = 0.5, 0.1  # shares of the requests of a look
APPENDS, OTHERS = "appends", "requests other than appends"
_CODES = {APPENDS: "appends_fail", OTHERS: "requests_fail"}


class Failure(NamedTuple):
    """The kind of request of a route whose last requests failed, and since when."""

    kind: str
    since: float


class RouteTraffic:
    """The last requests to each route, from what was counted at each look.

    A kind fails from a look on at which at least half of its requests got 5xx, until one at which
    fewer than a tenth do: an origin that fails a third of them is no incident of each look.
    """

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._last_at: dict[str, float] = {}
        self._failures: dict[
            str, dict[str, tuple[float, float]]
        ] = {}  # the moments of the first and the last

    def note(self, now: float, rows: Mapping[str, Row]) -> None:
        """Take what was counted of the routes at a look."""
        if self._began_at is None or now < self._began_at:  # the clock was set back
            self._began_at = now
            self._last_at.clear()
            self._failures.clear()
        for prefix, row in rows.items():
            for kind, requests, failed in _kinds(row):
                if not requests:
                    continue
                self._last_at[prefix] = now
                failures = self._failures.setdefault(prefix, {})
                if failed >= requests * (GOES_ON if kind in failures else BEGINS):
                    since, _ = failures.get(kind, (now, now))
                    failures[kind] = since, now
                else:
                    failures.pop(kind, None)

    def keep(self, prefixes: Iterable[str]) -> None:
        """Forget all other routes, which a reload has removed."""
        present = frozenset(prefixes)
        self._last_at = {it: at for it, at in self._last_at.items() if it in present}
        self._failures = {it: of for it, of in self._failures.items() if it in present}

    def forget_failures(self, prefixes: Iterable[str]) -> None:
        """Forget the failed requests of routes: their cause has ended."""
        for prefix in prefixes:
            self._failures.pop(prefix, None)

    def failures(self, prefix: str, now: float) -> list[Failure]:
        """Return the kinds of requests of a route whose last requests failed."""
        failures = self._failures.get(prefix, {}).items()
        return [Failure(kind, since) for kind, (since, at) in failures if now - at <= FAILED_S]

    def findings(self, now: float) -> Iterator[IncidentFinding]:
        """Yield a finding for each kind of request whose last ones failed at a route."""
        for prefix in self._failures:
            for kind, since in self.failures(prefix, now):
                yield IncidentFinding(
                    ("failing", f"{prefix} {kind}"),
                    "bad",
                    f"the last {kind} failed ({prefix})",
                    f"The last {kind} to {prefix} failed with 5xx.",
                    prefix,
                    "HeadgateServerErrors",
                    since,
                    is_symptom=True,
                    about=HealthNote("requests", prefix, Cause(_CODES[kind])),
                    past=f"{kind} to {prefix} failed with 5xx",
                )

    def idle_s(self, prefix: str, now: float) -> float | None:
        """Return for how long a route has had no requests, if it is idle."""
        last = self._last_at.get(prefix, self._began_at)
        return None if last is None or now - last < IDLE_S else now - last


def _kinds(row: Row) -> Iterable[tuple[str, float, float]]:
    """Yield requests and 5xx by kind."""
    appends = sum(row[COLUMN[outcome]] for outcome in OUTCOMES.values())
    failed = row[COLUMN[OUTCOMES["5xx"]]]
    yield APPENDS, appends, failed
    yield OTHERS, row[COLUMN["requests"]] - appends, row[COLUMN["errors"]] - failed
