"""Findings that need an operator's attention, from health, metrics and history."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from admin.model.kinds import ALARM_RATIO
from admin.model.overview import Attention
from admin.record import figures
from gateway.monitoring.certificate_expiry import EXPIRES_NOW, EXPIRES_SOON
from gateway.settings.log_kinds.redis import WITHOUT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from admin.model.kinds import Level
    from admin.model.processes import GatewayView
    from admin.record.figures import Row
    from admin.source import Health
    from gateway.telemetry.metrics import Sample

RATIO_OVER_S = 600  # for how long the ratio must be low, as the alert rule has it
FEWEST_READS = 100  # in that time: of a handful a ratio tells nothing
ORIGIN_ERRORS = 0.05  # of the requests at an origin
FEWEST_REQUESTS = 20  # at an origin in a minute: of fewer a single failure would be as much
FEWEST_FREE_BYTES = 1 << 30
LATELY_S = 60.0
STALL_S = 0.25  # for which nobody was served
_CERTIFICATE_START = "headgate_tls_certificate_start_seconds"
_CERTIFICATE_EXPIRY = "headgate_tls_certificate_expiry_seconds"
_ORDER: dict[Level, int] = {"bad": 0, "warning": 1, "good": 2}


class AttentionItem(NamedTuple):
    """Something that is so now. `key` stays the same as long as it is, whatever the sentence."""

    key: tuple[str, str]  # of a closed set: what it is, and of what
    level: Level
    sentence: str
    route: str | None = None


class Watch:
    """Findings with the moments at which they began."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self.attention: tuple[Attention, ...] = ()

    def update(self, now: float, found: Iterable[AttentionItem]) -> None:
        """Take what is found now; what is not among it any more is over."""
        findings = sorted(found, key=lambda it: (_ORDER[it.level], it.key))
        self._since = {it.key: self._since.get(it.key, now) for it in findings}
        self.attention = tuple(
            Attention(it.level, it.sentence, it.route, self._since[it.key]) for it in findings
        )


class Growing:
    """The counters of trouble that have grown lately."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], float] | None = None
        self._lately: dict[tuple[str, str], tuple[float, float]] = {}  # when last, how much since

    def update(self, now: float, samples: Iterable[Sample]) -> Iterator[AttentionItem]:
        """Yield a finding for each counter that has grown within the last minute."""
        totals: dict[tuple[str, str], float] = {}
        for sample in samples:
            # A history that changed and lost nothing is no trouble.
            if sample.metric.name in _TROUBLE and sample.values[1:] != ("no",):
                key = (sample.metric.name, " ".join(sample.values))
                totals[key] = totals.get(key, 0.0) + _counted(sample)
        # What has never been counted before this look begins at zero, if it is not the first.
        before = totals if self._totals is None else self._totals
        for key, total in totals.items():
            more = total - before.get(key, 0.0)
            if more > 0:
                self._lately[key] = (now, self._lately.get(key, (now, 0.0))[1] + more)
        self._totals = totals
        self._lately = {
            key: lately for key, lately in self._lately.items() if now - lately[0] < LATELY_S
        }
        for (name, label), (_, count) in self._lately.items():
            of, _, lost = label.partition(" ")
            sentence = _TROUBLE[name].format(count=f"{count:,.0f}", label=of, lost=_LOST.get(lost))
            yield AttentionItem((name, label), "bad" if lost == "yes" else "warning", sentence)


_LOST = {
    "yes": "what it had acknowledged last is lost",
    "unknown": "it is not known whether it has lost something",
}
_TROUBLE = {
    "headgate_log_histories_total": "a Redis of {label} came back or another took over: {lost}",
    "headgate_refusals_total": "{label} is reached: {count} refused since it began",
    "headgate_worker_restarts_total": "workers end and are replaced: {count} since it began",
    "headgate_repeated_reads_total": "readers go in circles: {count} since it began",
    "headgate_event_loop_lag_seconds": (
        f"a process stood still for over {STALL_S * 1000:.0f} ms: {{count}} times since it began"
    ),
}


def _counted(sample: Sample) -> float:
    """Return a counter's number; for a histogram its observations above STALL_S."""
    if sample.distribution is None:
        return sample.number
    above = bisect_left(sample.metric.bounds, STALL_S) + 1
    return float(sum(sample.distribution.counts[above:]))


def of_health(health: Health) -> Iterator[AttentionItem]:
    """Yield a finding for each check that fails, and for notes that clients feel."""
    for name, reason in health.checks.items():
        if reason is not None:
            yield _check(name, reason, "bad")
    for name, reason in health.notes.items():
        if reason is not None:
            yield _check(name, reason, "bad" if is_felt(name) else "warning")


def is_felt(note: str) -> bool:
    """Return whether readers or writers feel what the note is about.

    Data are lost, an origin is unreachable, a cache in front still has what was deleted, or nobody
    can connect for lack of a certificate.
    """
    return note.startswith(("certificate for ", "loss ", "origin ", "purge "))


def _check(name: str, reason: str, level: Level) -> AttentionItem:
    what, _, of = name.partition(" ")
    route = of if of.startswith("/") else None
    sentence = f"{what if route else name}: {reason}"
    return AttentionItem(("check", name), level, sentence, route)


def of_metrics(samples: Iterable[Sample]) -> Iterator[AttentionItem]:
    """Yield the findings in single gauges."""
    for sample in samples:
        name, number = sample.metric.name, sample.number
        labels = dict(zip(sample.metric.labels, sample.values, strict=True))
        route = labels.get("route")
        key = (name, route or "")
        if name == "headgate_workers_silent" and number:
            yield AttentionItem(
                key, "warning", f"{number:.0f} workers do not respond to the supervisor"
            )
        elif name == "headgate_redis_aof_enabled" and not number:
            yield AttentionItem(key, "warning", WITHOUT_FILE, route)
        elif name == "headgate_redis_aof_ok" and not number:
            yield AttentionItem(key, "bad", "Redis cannot write its append-only file", route)
        elif name == "headgate_log_free_bytes" and number < FEWEST_FREE_BYTES:
            sentence = f"{number / (1 << 20):,.0f} MiB are left on the disk of the log"
            yield AttentionItem(key, "warning", sentence, route)


def of_certificates(samples: Iterable[Sample], now: float) -> Iterator[AttentionItem]:
    """Yield a finding for each certificate that expires soon, as the alert rules have it."""
    validity = {
        (sample.metric.name, *sample.values): sample.number
        for sample in samples
        if sample.metric.name in {_CERTIFICATE_START, _CERTIFICATE_EXPIRY}
    }
    for (name, *values), start_s in validity.items():
        if name != _CERTIFICATE_START:
            continue
        (setting,) = values
        expiry_s = validity[_CERTIFICATE_EXPIRY, setting]
        left_s, lifetime_s = expiry_s - now, expiry_s - start_s
        if EXPIRES_SOON.is_reached(left_s, lifetime_s):
            is_bad = EXPIRES_NOW.is_reached(left_s, lifetime_s)
            when = f"expires in {left_s / 3600:,.0f} h" if left_s > 0 else "has expired"
            sentence = f"the certificate of {setting} {when}"
            yield AttentionItem(("certificate", setting), "bad" if is_bad else "warning", sentence)


def of_history(prefix: str, finest: list[Row | None], step_s: int) -> Iterator[AttentionItem]:
    """Yield the findings in a route's last minutes, from its rows of `step_s` seconds."""
    minutes = figures.summed(finest[-(RATIO_OVER_S // step_s) :])
    ratio = figures.without_origin(minutes)
    if ratio is not None and ratio < ALARM_RATIO and _reads(minutes) >= FEWEST_READS:
        sentence = (
            f"{ratio:.0%} of reads were served without the origin or the log in the last ten "
            f"minutes, fewer than {ALARM_RATIO:.0%}"
        )
        yield AttentionItem(("ratio", prefix), "warning", sentence, prefix)
    minute = figures.summed(finest[-(60 // step_s) :])
    requests, failed = _pair(minute, "origin_requests"), _pair(minute, "origin_errors")
    if requests >= FEWEST_REQUESTS and failed / requests > ORIGIN_ERRORS:
        sentence = (
            f"{failed / requests:.0%} of the requests at the origin failed in the last minute"
        )
        yield AttentionItem(("origin errors", prefix), "warning", sentence, prefix)


def _pair(row: Row | None, name: str) -> float:
    return 0.0 if row is None else row[figures.COLUMN[name]]


def _reads(row: Row | None) -> float:
    return sum(_pair(row, name) for name in figures.CACHE_RESULTS)


def of_routes(rows: Mapping[str, list[Row | None]], step_s: int) -> Iterator[AttentionItem]:
    """Yield the findings in the last minutes of all routes."""
    for prefix, finest in rows.items():
        yield from of_history(prefix, finest, step_s)


def of_gateways(gateways: Iterable[GatewayView]) -> Iterator[AttentionItem]:
    """Yield a finding for each gateway that is silent without having announced that it stops."""
    for it in gateways:
        if it.silent_since is not None and it.state.level != "good":
            where = f"{it.name} on {it.host}" if it.host else it.name
            sentence = (
                f"the gateway {where} is silent: it shares this log, and did not say it stops"
            )
            yield AttentionItem(("gateway", where), "bad", sentence)
