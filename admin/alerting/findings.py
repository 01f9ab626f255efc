"""Findings that need an operator's attention: failing health checks, and active alerts.

A check knows its reason at once, and an alert its duration and its threshold. Where both are about
the same thing (`Alert.check`), they are one finding: the reason of the check, as severe as the
alert. A pending alert is a warning, since an operator who looks need not wait. A Redis without an
append-only file is a finding of its own and no alert, since that may be a decision.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from admin.alerting.views import sentence
from admin.model.overview import NextStep
from gateway.monitoring.quantities import Rate, seconds
from gateway.monitoring.rules import ACCESS_FILE, CERTIFICATE_FILE
from gateway.settings.log_kinds.redis import WITHOUT_FILE
from gateway.settings.reading.files import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from admin.alerting.active_alerts import ActiveAlert, ActiveAlerts
    from admin.model.kinds import Level
    from admin.record.gateways import GatewayView
    from gateway.features.questions.process_source import Health
    from gateway.monitoring.rules import Alert
    from gateway.settings import Settings
    from gateway.telemetry.metrics import Sample

PENDING_S = 4.0  # two looks: what was so at a single one may be over
LOOK = "the last look"


class IncidentFinding(NamedTuple):
    """Something that needs attention now; its `key` stays while it does, though words change.

    A symptom of a route is shown below another finding about the route, if there is one.
    """

    key: tuple[str, str]  # what it is, of a closed set, and about what
    level: Level
    title: str  # in a few words
    sentence: str
    route: str | None = None
    alert: str = ""  # the name of the rule whose section says what to do
    since: float | None = None  # None for the look that finds it first
    note: str = ""  # what will become of it
    window: str = LOOK  # when its cause was measured
    is_symptom: bool = False

    @property
    def id(self) -> str:
        """The key as one text."""
        return " ".join(self.key)

    @property
    def next(self) -> NextStep:
        """The page and the command by which to go on."""
        step = NEXT_STEPS.get(self.alert) or NEXT_STEPS.get(self.key[0]) or NextStep()
        if self.route and not step.page:
            return NextStep(f"/routes#{quote(self.route, safe='')}", step.command)
        return step


_EVENTS = "headgate monitor events --since 1h --kind"
_SUBSCRIPTIONS = "headgate stream subscriptions list"
# By the name of the rule, or by the first word of a finding's key.
NEXT_STEPS = {
    "HeadgateDown": NextStep("/gateways", "headgate status"),
    "HeadgateRefuses": NextStep("/events?show=refusals", "headgate status"),
    "HeadgateSettingsRefused": NextStep("/configuration", "headgate config check"),
    "HeadgateAccessFileRefused": NextStep("/configuration", "headgate config check"),
    "HeadgateCertificateFilesRefused": NextStep("/configuration", "headgate config check"),
    "HeadgateCertificateExpired": NextStep("/configuration", "headgate config check"),
    "HeadgateCertificateNotValidYet": NextStep("/configuration", "timedatectl status"),
    "HeadgateClockSet": NextStep("/gateways", "timedatectl status"),
    "HeadgateSubscriptionStuck": NextStep(
        "/subscriptions?status=stuck", f"{_SUBSCRIPTIONS} --status stuck"
    ),
    "HeadgateSubscriptionLags": NextStep("/subscriptions", f"{_SUBSCRIPTIONS} --order oldest"),
    "HeadgateSubscriptionPaused": NextStep(
        "/subscriptions?status=paused", f"{_SUBSCRIPTIONS} --status paused"
    ),
    "HeadgateWorkersSilent": NextStep("/gateways", f"{_EVENTS} worker"),
    "HeadgateLogDown": NextStep("", f"{_EVENTS} log"),
    "HeadgateWalDamaged": NextStep("", f"{_EVENTS} log"),
    "HeadgateDiskNearlyFull": NextStep("/streams", "df -h"),
    "HeadgateRedisReplicaLags": NextStep("", "headgate doctor redis"),
    "headgate_redis_aof_enabled": NextStep("", "headgate doctor redis"),
    "HeadgateOriginDown": NextStep("", f"{_EVENTS} origin"),
    "HeadgateOriginServerDown": NextStep("", f"{_EVENTS} origin"),
    "HeadgateOriginFailing": NextStep("", f"{_EVENTS} origin"),
    "HeadgatePurgesFail": NextStep("/events?kind=purge", f"{_EVENTS} purge"),
    "failing": NextStep("/events?show=refusals", "headgate status"),
}


def findings(
    health: Health, samples: Iterable[Sample], alerts: ActiveAlerts, settings: Settings
) -> Iterator[IncidentFinding]:
    """Yield everything that needs attention now, each thing once."""
    checks = {item.key[1]: item for item in health_findings(health)}
    for name, item in checks.items():
        rule = _rule_of(item, alerts.rules, settings)
        checks[name] = item if rule is None else item._replace(alert=rule.name)
    for alert in alerts.active:
        is_critical = alert.is_firing and alert.rule.severity == "critical"
        level: Level = "bad" if is_critical else "warning"
        same = [name for name in checks if is_about(alert, name, settings)]
        for name in same:
            if is_critical:
                checks[name] = checks[name]._replace(level=level)
        held_s = (alerts.looked_at or 0.0) - alert.since
        if not same and (alert.is_firing or held_s >= PENDING_S):
            labels = dict(alert.labels)
            minutes = seconds(alert.rule.lasting) // 60
            threshold = alert.rule.threshold
            is_rate = threshold is not None and isinstance(threshold.quantity, Rate)
            yield IncidentFinding(
                ("alert", " ".join((alert.rule.name, *labels.values()))),
                level,
                _words(alert.rule.name),
                sentence(alert),
                labels.get("route"),
                alert.rule.name,
                alert.since,
                "" if alert.is_firing else f"It becomes an alert after {minutes} min.",
                "the last 5 minutes" if is_rate else LOOK,
                is_symptom=alert.rule.is_symptom,
            )
    yield from checks.values()
    yield from redis_findings(samples)


def _rule_of(item: IncidentFinding, rules: Iterable[Alert], settings: Settings) -> Alert | None:
    """Return the rule about the same as a health check, of several the one that is as severe.

    A refused certificate is a warning while the former one is in use, and no expired one.
    """
    name, is_bad = item.key[1], item.level == "bad"
    certificates = {whole(it) for it in (settings.tls.certificate, settings.admin.tls.certificate)}
    if name in certificates:
        name = CERTIFICATE_FILE
    elif name.startswith("/"):
        name = ACCESS_FILE
    for rule in sorted(rules, key=lambda it: (it.severity == "critical") != is_bad):
        if rule.check is not None and name.startswith(rule.check.partition("{")[0]):
            return rule
    return None


def is_about(alert: ActiveAlert, check: str, settings: Settings) -> bool:
    """Return whether a health check is about the same as an alert."""
    labels = dict(alert.labels)
    if alert.rule.check in {CERTIFICATE_FILE, ACCESS_FILE}:
        value = settings.value_at(labels["setting"])
        # The name of a check on a file is its absolute path; other keys of an issuer have a URL.
        return bool(value) and "://" not in value and check == whole(value)
    if alert.rule.check is None:
        return False
    name = alert.rule.check.format(**labels)
    return check == name or check.startswith(f"{name} ")


def health_findings(health: Health) -> Iterator[IncidentFinding]:
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


def gateway_findings(gateways: Iterable[GatewayView]) -> Iterator[IncidentFinding]:
    """Yield a finding for each gateway that is silent without having announced that it stops."""
    for it in gateways:
        if it.silent_since is not None and it.state.level != "good":
            where = f"{it.name} on {it.host}" if it.host else it.name
            words = f"the gateway {where} is silent: it shares this log, and did not say it stops"
            title = "a gateway is silent"
            yield IncidentFinding(("gateway", where), "bad", title, words, alert="HeadgateDown")


def _check(name: str, reason: str, level: Level) -> IncidentFinding:
    what, _, of = name.partition(" ")
    route = of if of.startswith("/") else None
    words = f"{what if route else name}: {reason}"
    titles = {
        "log": "log takes no appends",
        "origin": "origin unreachable or failing",
        "loss": "data lost",
        "reader-keys": "revoked, reader keys not rotated",
    }
    title = f"{titles[what]} ({of})" if what in titles else f"{name} is not well"
    return IncidentFinding(("check", name), level, title, words, route)


def redis_findings(samples: Iterable[Sample]) -> Iterator[IncidentFinding]:
    """Yield a finding for each Redis without an append-only file."""
    for sample in samples:
        if sample.metric.name == "headgate_redis_aof_enabled" and not sample.number:
            (route,) = sample.values
            title = f"no append-only file ({route})"
            yield IncidentFinding(
                (sample.metric.name, route), "warning", title, WITHOUT_FILE, route
            )


def _words(name: str) -> str:
    """Return the name of a rule in words: HeadgateSubscriptionLags is subscription lags."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", name.removeprefix("Headgate")).lower()
