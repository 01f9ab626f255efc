"""Findings that need an operator's attention: failing health checks, and active alerts.

A check knows its reason at once, and an alert its duration and its threshold. Where both are about
the same thing (`Alert.check`), they are one finding: the reason of the check, as severe as the
alert. A pending alert is a warning, since an operator who looks need not wait. A Redis without an
append-only file is a finding of its own and no alert, since that may be a decision.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from headgate_admin.alerting.views import sentence
from headgate_gateway.monitoring.quantities import seconds
from headgate_gateway.settings.log_kinds.redis import WITHOUT_FILE
from headgate_gateway.settings.reading.files import whole
from headgate_gateway.telemetry.health import (
    ACCESS_FILE,
    CERTIFICATE_FILE,
    STARTING,
    Cause,
    HealthNote,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from headgate_admin.alerting.active_alerts import ActiveAlert, ActiveAlerts
    from headgate_admin.model.kinds import Level
    from headgate_admin.model.overview import NextStep
    from headgate_gateway.features.questions.process_source import Health
    from headgate_gateway.monitoring.rules import Alert
    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.metrics import Sample

A_START = "It becomes an incident if it ends otherwise."


class Subject(NamedTuple):
    """The subject of an alert: a sentence that names it, and how an operator goes on.

    Without a sentence or a step, that of the rule fits.
    """

    sentence: str
    next: NextStep | None


class IncidentFinding(NamedTuple):
    """Something that needs attention now. Its `key` stays the same while its words change.

    A symptom of a route is shown below another finding about the route, if there is one, and what
    another finding has caused below that.
    """

    key: tuple[str, str]  # what has found it, and a name
    level: Level
    title: str  # in a few words
    sentence: str
    route: str | None = None
    alert: str = ""  # the name of the rule whose section says what to do
    since: float | None = None  # None for the look that finds it first
    note: str = ""  # what will become of it
    is_symptom: bool = False
    caused_by: str = ""  # the `id` of another present finding
    advice: str = ""  # what an alert's rule says on its causes
    step: NextStep | None = None  # None for that of its rule or its part
    about: HealthNote = HealthNote("")
    ended_at: float | None = None  # of what is over, and was measured
    past: str = ""  # the sentence once it is over; "" if that is in the past tense itself

    @property
    def id(self) -> str:
        """The key as one text."""
        return " ".join(self.key)


DISK, QUOTA = "HeadgateDiskNearlyFull", "HeadgateQuotaNearlyFull"


def findings(
    health: Health,
    samples: Iterable[Sample],
    alerts: ActiveAlerts,
    settings: Settings,
    subjects: Mapping[tuple[str, str], Subject],
) -> Iterator[IncidentFinding]:
    """Return everything that needs attention now, each thing once."""
    found = [
        *_checks_and_alerts(health, alerts, settings, subjects),
        *redis_findings(samples),
    ]
    return with_causes(found)


def with_causes(found: Sequence[IncidentFinding]) -> Iterator[IncidentFinding]:
    """Yield all findings, each with the one that has caused it, if there is one."""
    for it in found:
        causes = (cause.id for cause in found if _has_caused(cause, it))
        yield it._replace(caused_by=next(causes, ""))


def _has_caused(cause: IncidentFinding, it: IncidentFinding) -> bool:
    """Return whether a finding is only what another one has caused.

    A full disk stops its log, a used-up quota has appends refused, and a start would refuse the
    settings, too, because of a file that they name.
    """
    if it.alert == "HeadgateLogDown":
        return cause.alert == DISK and cause.route == it.route
    if it.id == "alert HeadgateRequestsRefused max_storage_size":
        return cause.alert == QUOTA
    return it.about.kind == "settings" and cause.about.kind in FILES


def _checks_and_alerts(
    health: Health,
    alerts: ActiveAlerts,
    settings: Settings,
    subjects: Mapping[tuple[str, str], Subject],
) -> Iterator[IncidentFinding]:
    checks = {item.id: item for item in health_findings(health)}
    for name, item in checks.items():
        rule = _rule_of(item, alerts.rules)
        checks[name] = (
            item if rule is None else item._replace(alert=rule.name, advice=rule.description)
        )
    for alert in (it for it in alerts.active if it.is_shown):
        is_critical = alert.is_firing and alert.rule.severity == "critical"
        same = [name for name, item in checks.items() if is_about(alert, item.about, settings)]
        for name in same:
            if is_critical:
                checks[name] = checks[name]._replace(level="bad")
        if not same:
            route = dict(alert.labels).get("route", "")
            subject = subjects.get((alert.rule.name, route))
            yield _of_alert(alert, subject)
    yield from checks.values()


def _of_alert(alert: ActiveAlert, subject: Subject | None) -> IncidentFinding:
    rule, labels = alert.rule, dict(alert.labels)
    words = subject.sentence if subject is not None and subject.sentence else sentence(alert)
    return IncidentFinding(
        ("alert", " ".join((rule.name, *labels.values()))),
        "bad" if alert.is_firing and rule.severity == "critical" else "warning",
        _words(rule.name),
        words,
        labels.get("route"),
        rule.name,
        alert.since,
        "" if alert.is_firing else f"It becomes an alert after {seconds(rule.lasting) // 60} min.",
        is_symptom=rule.is_symptom,
        advice=rule.description,
        step=None if subject is None else subject.next,
        about=HealthNote(
            rule.check or rule.part or "server",
            " ".join(labels.values()),
            Cause(rule.name, {**labels, "value": alert.value}),
        ),
        past=sentence(alert, rule.past) if rule.past else words,
    )


def _rule_of(item: IncidentFinding, rules: Iterable[Alert]) -> Alert | None:
    """Return the rule about a health check and its cause; of several the one that is as severe."""
    is_bad, code = item.level == "bad", item.about.cause and item.about.cause.code
    for rule in sorted(rules, key=lambda it: (it.severity == "critical") != is_bad):
        if rule.check == item.about.kind and (not rule.causes or code in rule.causes):
            return rule
    return None


def is_about(alert: ActiveAlert, note: HealthNote, settings: Settings) -> bool:
    """Return whether a health note is about the same as an alert."""
    labels = dict(alert.labels)
    if alert.rule.check != note.kind:
        return False
    if note.kind in FILES:
        value = settings.value_at(labels["setting"])
        # The subject is an absolute path; other keys of an issuer have a URL.
        return bool(value) and "://" not in value and note.subject == whole(value)
    # The subject of a purge is a cache and its place, and the metrics of workers do not name any.
    whose = labels.get("route", labels.get("cache", ""))
    return whose in {"", note.subject, note.subject.partition(" ")[0]}


def health_findings(health: Health) -> Iterator[IncidentFinding]:
    """Yield a finding for each part with a check that fails, or a note.

    A note is a warning unless clients feel what it says.
    """
    found: dict[str, IncidentFinding] = {}
    for note in (*health.checks, *health.notes):
        if note.cause is not None:
            is_bad = note in health.checks or note.is_felt
            item = _check(note, note.cause, "bad" if is_bad else "warning")
            if (same := found.get(item.id)) is not None:  # another cause, or that of other workers
                words = f"{same.sentence}; {note.sentence}"
                item = (same if same.level == "bad" else item)._replace(sentence=words)
            found[item.id] = item
    yield from found.values()


def _check(note: HealthNote, cause: Cause, level: Level) -> IncidentFinding:
    kind, of = note.kind, note.subject
    route = of if of.startswith("/") and kind not in FILES else None
    words = note.sentence or ""
    if cause.code not in NAMING_FILES:
        name = kind if route else note.name
        words = f"{name} {words}" if cause.code in SAYING_ENDS else f"{name}: {words}"
    title = f"{note.name}: see below"
    if kind in FILES:
        title = f"{PurePath(of).name} {STATES_OF_FILES.get(cause.code, 'refused')}"
    if kind in TITLES:
        title = f"{TITLES[kind]} ({of})" if of else TITLES[kind]
    if cause.code == "replaced":
        title = f"a worker ended and was replaced ({of})"
    begins = A_START if cause.code == STARTING else ""
    return IncidentFinding(
        ("check", note.name), level, title, words, route, note=begins, about=note, past=note.past
    )


FILES = {CERTIFICATE_FILE, ACCESS_FILE}
# By the cause. All others are refused.
STATES_OF_FILES = {
    "has_ended": "has ended",
    "ends_now": "is about to end",
    "ends_soon": "ends soon",
    "not_valid_yet": "is not valid yet",
    "other_hosts": "is for other hosts",
}
SAYING_ENDS = {"ended", "replaced", "set", "silent"}  # causes whose sentences go on after a name
NAMING_FILES = {"refused", "not_used"}  # causes whose sentences begin with the file
# By the kind of a check or note.
TITLES = {
    "clock": "clock was set",
    "log": "log takes no appends",
    "loss": "data lost",
    "origin": "origin unreachable or failing",
    "purge": "purges fail",
    "quota": "quota used up",
    "settings": "settings refused",
    "subscriptions": "a subscription is stuck",
    "worker": "a worker does not serve",
}


def redis_findings(samples: Iterable[Sample]) -> Iterator[IncidentFinding]:
    """Yield a finding for each Redis without an append-only file."""
    for sample in samples:
        if sample.metric.name == "headgate_redis_aof_enabled" and not sample.number:
            (route,) = sample.values
            title = f"no append-only file ({route})"
            yield IncidentFinding(
                *((sample.metric.name, route), "warning", title, WITHOUT_FILE, route),
                about=HealthNote("log", route, Cause("without_file")),
                past=f"the Redis of {route} kept no append-only file",
            )


class Failovers:
    """The restarts and failovers of Redis since the last look, all of which are over by then.

    `headgate_storage_histories_total` counts each once it is known whether writes are lost.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], float] | None = None

    def found(self, now: float, samples: Iterable[Sample]) -> Iterator[IncidentFinding]:
        """Yield a finding for each Redis that has another history than at the last look."""
        before = self._counts
        self._counts = {
            it.values: it.number
            for it in samples
            if it.metric.name == "headgate_storage_histories_total"
        }
        found: dict[str, set[str]] = {}  # by the workers, each of its own writes
        for (route, lost), count in self._counts.items():
            if before is not None and count > before.get((route, lost), 0.0):
                found.setdefault(route, set()).add(lost)
        for route, losses in found.items():
            lost = next(it for it in _LOST if it in losses)
            words = f"The Redis of {route} restarted or failed over: {_LOST[lost]}."
            title = f"Redis failed over ({route})"
            yield IncidentFinding(
                *(("failover", route), "warning", title, words, route),
                since=now,
                about=HealthNote("log", route, Cause("failover", {"lost": lost})),
            )


# The worst first; one worker that can tell is enough.
_LOST = {
    "yes": "it lost acknowledged writes",
    "no": "no acknowledged write was lost",
    "unknown": "it is not known whether acknowledged writes were lost",
}


def _words(name: str) -> str:
    """Return the name of a rule in words: HeadgateSubscriptionLags is subscription lags."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", name.removeprefix("Headgate")).lower()
