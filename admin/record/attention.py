"""Findings that need an operator's attention: failing health checks, and active alerts.

A check knows its reason at once, and an alert its duration and its threshold. Where both are about
the same thing (`Alert.check`), they are one finding: the reason of the check, as severe as the
alert. A pending alert is a warning, since an operator who looks need not wait. A Redis without an
append-only file is a finding of its own and no alert, since somebody may have decided so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from admin.alerting.views import sentence
from admin.model.overview import Attention
from admin.record.policy import spell
from gateway.monitoring.quantities import seconds
from gateway.settings.log_kinds.redis import WITHOUT_FILE
from gateway.settings.reading.files import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from admin.alerting.evaluator import AlertEvaluator
    from admin.alerting.series import Labels
    from admin.alerting.states import ActiveAlert, AlertStates
    from admin.model.kinds import Level
    from admin.model.processes import GatewayView
    from gateway.features.questions.process_source import Health
    from gateway.monitoring.rules import Alert
    from gateway.settings import Settings
    from gateway.telemetry.metrics import Sample

PENDING_S = 4.0  # two looks: what was so at a single one may be over
_ORDER: dict[Level, int] = {"bad": 0, "warning": 1, "good": 2}


class AttentionItem(NamedTuple):
    """Something that is so now. `key` stays the same as long as it is, whatever the sentence."""

    key: tuple[str, str]  # of a closed set: what it is, and of what
    level: Level
    sentence: str
    route: str | None = None
    alert: str = ""  # the name of the rule whose section says what to do
    since: float | None = None  # None for the moment at which it is found first
    note: str = ""  # what will become of it


class Watch:
    """Findings with the moments at which they began."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self.attention: tuple[Attention, ...] = ()

    def update(self, now: float, found: Iterable[AttentionItem]) -> None:
        """Take what is found now; what is not among it any more is over."""
        findings = sorted(found, key=lambda it: (_ORDER[it.level], it.key))
        former = self._since
        # A clock that was set back puts moments before that into the future.
        self._since = {it.key: min(it.since or former.get(it.key, now), now) for it in findings}
        self.attention = tuple(
            Attention(it.level, it.sentence, it.route, self._since[it.key], it.alert, it.note)
            for it in findings
        )


def findings(
    health: Health, samples: Iterable[Sample], evaluator: AlertEvaluator
) -> Iterator[AttentionItem]:
    """Yield everything that needs attention now, each thing once."""
    checks = {item.key[1]: item for item in of_health(health)}
    for name, item in checks.items():
        rule = _rule_of(item, evaluator)
        checks[name] = item if rule is None else item._replace(alert=rule.name)
    for alert in _shown(evaluator.states):
        labels = dict(alert.labels)
        level: Level = "bad" if _is_critical(alert) else "warning"
        same = [name for name in checks if is_about(alert.rule, labels, name, evaluator.settings)]
        for name in same:
            if level == "bad":
                checks[name] = checks[name]._replace(level=level)
        if not same:
            key = ("alert", " ".join((alert.rule.name, *labels.values())))
            lasting = spell(round(seconds(alert.rule.lasting)))
            note = f"It becomes an alert after {lasting}." if alert.firing_at is None else ""
            yield AttentionItem(
                key,
                level,
                sentence(alert),
                labels.get("route"),
                alert.rule.name,
                alert.active_at,
                note,
            )
    yield from checks.values()
    yield from of_redis(samples)


def _shown(states: AlertStates) -> list[ActiveAlert]:
    """Return the alerts to show: those that fire, and those that have held for two looks.

    Of several with one subject it is the most severe one.
    """
    now = states.updated_at or 0.0
    found = [
        it
        for it in states.active.values()
        if it.firing_at is not None or now - it.active_at >= PENDING_S
    ]
    found.sort(key=lambda it: (not _is_critical(it), it.firing_at is None))
    seen: set[tuple[str, Labels]] = set()
    shown = []
    for alert in found:
        subject = (alert.rule.subject or alert.rule.name, alert.labels)
        if subject not in seen:
            seen.add(subject)
            shown.append(alert)
    return shown


def _is_critical(alert: ActiveAlert) -> bool:
    return alert.firing_at is not None and alert.rule.severity == "critical"


def _rule_of(item: AttentionItem, evaluator: AlertEvaluator) -> Alert | None:
    """Return the rule about the same as a health check, of several the one that is as severe.

    A refused certificate is a warning while the former one is in use, and no expired one.
    """
    name, is_bad = item.key[1], item.level == "bad"
    for rule in sorted(evaluator.rules, key=lambda it: (it.severity == "critical") != is_bad):
        if rule.check == name:  # also of a rule that the console cannot evaluate
            return rule
        for labels in evaluator.values.get(rule.name, {}):
            if is_about(rule, dict(labels), name, evaluator.settings):
                return rule
    return None


def is_about(rule: Alert, labels: dict[str, str], check: str, settings: Settings) -> bool:
    """Return whether a health check is about the same as an alert with these labels."""
    if rule.check is None:
        return False
    # The check of a file has its path as its name, and the metric the setting with that path.
    path = _path(labels.get("setting", ""), settings)
    name = rule.check.format(**{**labels, "setting": path})
    return check == name or check.startswith(f"{name} ")


def _path(setting: str, settings: Settings) -> str:
    """Return the path in a setting such as `credentials.tokens_file`."""
    value = settings.value_at(setting) if setting else ""
    # The name of a check on a file is its absolute path; other keys of an issuer have a URL.
    return whole(value) if value and "://" not in value else value or setting


def of_health(health: Health) -> Iterator[AttentionItem]:
    """Yield a finding for each check that fails, and for notes that clients feel."""
    for name, reason in health.checks.items():
        if reason is not None:
            yield _check(name, reason, "bad")
    for name, reason in health.notes.items():
        if reason is not None:
            yield _check(name, reason, "bad" if is_felt(name, reason) else "warning")


def is_felt(note: str, reason: str) -> bool:
    """Return whether readers or writers feel what the note is about.

    Data are lost, an origin is unreachable, a cache in front still has what was deleted, or nobody
    can connect for lack of a certificate, or because clients refuse the one in use.
    """
    felt = ("certificate for ", "loss ", "origin ", "purge ")
    return note.startswith(felt) or reason.startswith("the certificate in use ")


def of_gateways(gateways: Iterable[GatewayView]) -> Iterator[AttentionItem]:
    """Yield a finding for each gateway that is silent without having announced that it stops."""
    for it in gateways:
        if it.silent_since is not None and it.state.level != "good":
            where = f"{it.name} on {it.host}" if it.host else it.name
            words = f"the gateway {where} is silent: it shares this log, and did not say it stops"
            yield AttentionItem(("gateway", where), "bad", words, alert="HeadgateDown")


def _check(name: str, reason: str, level: Level) -> AttentionItem:
    what, _, of = name.partition(" ")
    route = of if of.startswith("/") else None
    words = f"{what if route else name}: {reason}"
    return AttentionItem(("check", name), level, words, route)


def of_redis(samples: Iterable[Sample]) -> Iterator[AttentionItem]:
    """Yield a finding for each Redis without an append-only file."""
    for sample in samples:
        if sample.metric.name == "headgate_redis_aof_enabled" and not sample.number:
            (route,) = sample.values
            yield AttentionItem((sample.metric.name, route), "warning", WITHOUT_FILE, route)
