"""Incidents: their causes and symptoms, their ends and mutes, and the states of routes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestClient
from click.testing import CliRunner

from admin.alerting.active_alerts import ActiveAlerts, RecentGrowth
from admin.alerting.findings import NEXT_STEPS, IncidentFinding, findings
from admin.alerting.incidents import Incidents
from admin.app import build
from admin.console import CONSOLE
from admin.errors import ConsoleError
from admin.model.overview import Mute, NextStep
from admin.record import figures
from admin.record.route_traffic import RouteTraffic
from gateway.__main__ import cli
from gateway.features.questions.process_source import Health
from gateway.monitoring.quantities import Rate
from gateway.settings import Settings
from gateway.telemetry.metrics import Sample, counter, gauge
from gateway.tls.certificate_files import FILES_OK
from tests.admin.browser.every_page import PATHS
from tests.admin.consoles import ADMITTED, OPERATOR, VIEWER, Switchboard, setup
from tests.support.admin_server import AdminServer

if TYPE_CHECKING:
    from admin.model.kinds import Level


def check(
    name: str, reason: str, route: str | None = None, level: Level = "bad"
) -> IncidentFinding:
    return IncidentFinding(("check", name), level, f"{name} is not well", reason, route)


FAILING = IncidentFinding(
    ("failing", "/r appends"), "bad", "appends fail", "Appends fail.", "/r", is_symptom=True
)


def test_no_incident_begins_in_the_future_after_the_clock_was_set_back() -> None:
    incidents = Incidents()
    alert = IncidentFinding(("alert", "x"), "bad", "x", "appends fail", since=990.0)
    moments = []
    for now in (1000.0, 1010.0, 400.0, 410.0):
        incidents.update(now, (check("disk", "the disk is full"), alert))
        moments.append({it.sentence: it.since for it in incidents.attention})
    begun = {"appends fail": 990.0, "the disk is full": 1000.0}
    assert moments[:2] == [begun, begun]
    assert moments[2:] == [
        dict.fromkeys(begun, 400.0),
        {**begun, "the disk is full": 400.0, "appends fail": 410.0},
    ]


def test_symptoms_of_a_route_are_below_their_cause_and_alone_without_one() -> None:
    incidents = Incidents()
    log, origin = check("log /r", "timed out", "/r"), check("origin /s", "", "/s")
    incidents.update(0.0, [FAILING, log, origin])
    shown = {it.id: [it.sentence for it in it.symptoms] for it in incidents.attention}
    assert shown == {"check log /r": ["Appends fail."], "check origin /s": []}
    incidents.update(5.0, [FAILING])
    (alone,) = incidents.attention
    assert (alone.id, alone.since) == ("failing /r appends", 0.0)


def test_an_incident_that_has_ended_is_shown_for_an_hour_unless_it_begins_again() -> None:
    incidents = Incidents()
    log = check("log /r", "timed out", "/r")
    for now, found in ((0.0, [log]), (100.0, []), (3700.0, [])):
        incidents.update(now, found)
    (ended,) = incidents.ended
    assert (ended.id, ended.since, ended.ended_at) == ("check log /r", 0.0, 100.0)
    incidents.update(3701.0, [])
    assert incidents.ended == ()
    for now, found in ((4000.0, [log]), (4001.0, []), (4002.0, [log])):
        incidents.update(now, found)
    assert (len(incidents.attention), incidents.ended) == (1, ())


def test_a_mute_hides_an_incident_from_the_state_until_half_an_hour_or_another_cause() -> None:
    incidents = Incidents()
    states = []

    def look(now: float, reason: str, level: Level = "bad") -> None:
        incidents.update(now, [check("log /r", reason, "/r", level)])
        states.append((incidents.state().level, incidents.attention[0].mute))

    look(0.0, "timed out after 3 s")
    incidents.mute("check log /r", "ada", 0.0)
    look(1799.0, "timed out after 4 s")
    look(1800.0, "timed out after 5 s")
    incidents.mute("check log /r", "ada", 1800.0)
    look(1805.0, "connection refused")
    incidents.mute("check log /r", "ada", 1805.0)
    look(1810.0, "connection refused", "warning")
    assert states == [
        ("bad", None),
        ("good", Mute("ada", 1800.0)),
        ("bad", None),
        ("bad", None),
        ("warning", None),
    ]
    with pytest.raises(ConsoleError, match="over"):
        incidents.mute("check log /s", "ada", 1810.0)


@pytest.mark.parametrize(
    ("numbers", "growth"),
    [
        pytest.param([(7, 7)], 0.0, id="of-one-look-nothing-is-known"),
        pytest.param([(7, 7), (10, 9)], 5.0, id="series-add-up"),
        pytest.param([(7, 0), (2, 0)], 2.0, id="a-counter-was-reset"),
        pytest.param([(7,), (7, 3)], 3.0, id="a-series-came"),
        pytest.param([(7, 7), (9, 7), *[(9, 7)] * 59], 2.0, id="within-five-minutes"),
        pytest.param([(7, 7), (9, 7), *[(9, 7)] * 60], 0.0, id="before-five-minutes"),
    ],
)
def test_a_rate_is_the_growth_of_five_minutes(
    numbers: list[tuple[float, ...]], growth: float
) -> None:
    purges = counter("headgate_purges_total", "", "cache", "result")
    rate = RecentGrowth(Rate(purges.name, "job, cache", 'result=~"failed|abandoned"'))
    rates = {}
    for look, values in enumerate(numbers):
        names = ("failed", "abandoned")
        samples = [Sample(purges, ("c", of), it) for of, it in zip(names, values, strict=False)]
        rates = rate.rates(5.0 * look, [*samples, Sample(purges, ("c", "done"), 9.0 * look)])
    assert rates.get((("cache", "c"),), 0.0) * 300 == pytest.approx(growth)


@pytest.mark.parametrize(
    ("looks", "state"),
    [
        pytest.param([{}], None, id="at-the-start"),
        pytest.param([{}] * 61, "idle", id="without-requests"),
        pytest.param([{"appends": 1.0}, *[{}] * 60], "idle", id="idle-since"),
        pytest.param([{"appends": 1.0}, *[{}] * 59], None, id="not-yet-idle"),
        pytest.param([{"appends_failed": 1.0}], "appends", id="failed"),
        pytest.param([{"appends": 9.0, "appends_failed": 1.0}], None, id="a-few-failed"),
        pytest.param([{"appends_failed": 1.0}, {"requests": 1.0}], "appends", id="others-succeed"),
        pytest.param([{"appends_failed": 1.0}, {"appends": 1.0}], None, id="succeeded-again"),
        pytest.param([{"appends_failed": 1.0}, {"appends_refused": 1.0}], None, id="4xx-after"),
        pytest.param([{"errors": 2.0, "requests": 2.0}], "requests other than appends", id="reads"),
        pytest.param([{"appends_failed": 1.0}, *[{}] * 200], "idle", id="long-ago"),
    ],
)
def test_a_route_is_idle_without_requests_and_fails_after_the_last_one_of_a_kind(
    looks: list[dict[str, float]], state: str | None
) -> None:
    traffic = RouteTraffic()
    now = 0.0
    for now, counted in enumerate(looks):
        row = figures.empty()
        for name, number in counted.items():
            row[figures.COLUMN[name]] = number
            if name.startswith("appends"):
                row[figures.COLUMN["requests"]] += number
            if name == "appends_failed":
                row[figures.COLUMN["errors"]] += number
        traffic.note(5.0 * now, {"/r": row})
    failed = [it.kind for it in traffic.failures("/r", 5.0 * now)]
    is_idle = traffic.idle_s("/r", 5.0 * now) is not None
    assert (failed or ["idle"] * is_idle) == ([state] if state else [])


async def test_a_muted_incident_changes_badge_and_title_and_neither_health_nor_metrics() -> None:
    source = Switchboard({"log /v1/stream": "timed out"})
    app = build(source, setup(admin_tokens=ADMITTED))
    operator = {"Authorization": f"Bearer {OPERATOR}", "Accept": "text/html"}
    viewer = {"Authorization": f"Bearer {VIEWER}"}
    muting = {"mute": "check log /v1/stream"}
    async with TestClient(AdminServer(app)) as client:
        await app[CONSOLE].recorder.look()
        page = await (await client.get("/configuration", headers=operator)).text()
        assert "<title>1 ✕ Configuration" in page
        assert "headgate-bad.svg" in page
        assert 'data-level="bad"' in page
        assert (await client.post("/", data=muting, headers=viewer)).status == 403
        answer = await client.post("/", data=muting, headers=operator)
        page = await answer.text()
        assert "muted by shop until" in page
        assert "<title>Overview" in page
        assert "data-level=" not in page
        shown = await (await client.get("/api/v1/overview", headers=viewer)).json()
        assert shown["instance"]["state"] == {"level": "good", "words": "serving"}
        assert (await client.get("/readyz")).status == 503


def the_finding(settings: Settings, health: Health, samples: list[Sample]) -> tuple[str, str]:
    """Return level and alert of the only finding, after two looks."""
    alerts = ActiveAlerts(settings)
    for now in (1000.0, 1000.0 + 5):
        alerts.look(now, samples)
    (found,) = findings(health, samples, alerts, settings)
    return found.level, found.alert


@pytest.mark.parametrize(
    ("reason", "level", "alert"),
    [
        ("the certificate in new.pem expired 9 days ago", "warning", "FilesRefused"),
        ("the certificate in use expired 9 days ago", "bad", "Expired"),
    ],
)
def test_a_refused_certificate_is_no_expired_one(reason: str, level: str, alert: str) -> None:
    settings = Settings(tls={"certificate": "c.pem", "key": "c.key"})
    samples = [Sample(FILES_OK, ("tls.certificate",), 0.0)]
    health = Health({}, {f"{Path.cwd()}/c.pem": reason})
    assert the_finding(settings, health, samples) == (level, f"HeadgateCertificate{alert}")


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("credentials.tokens_file", "/etc/tokens.toml"),
        ("credentials.jwt_issuers[1].jwks", "/etc/second.json"),
    ],
)
def test_an_alert_about_a_file_and_the_check_of_its_path_are_one_finding(
    setting: str, path: str
) -> None:
    issuers = [
        {
            "issuer": name,
            "audience": "a",
            "jwks": f"/etc/{name}.json",
            "algorithms": ["EdDSA"],
            "grants": [{"streams": "/*", "operations": ["read"]}],
        }
        for name in ("first", "second")
    ]
    settings = Settings(
        storage="memory:", credentials={"tokens_file": "/etc/tokens.toml", "jwt_issuers": issuers}
    )
    refused = Sample(gauge("headgate_access_file_ok", "", "setting"), (setting,), 0.0)
    health = Health({}, {path: "line 3 is wrong"})
    expected = ("warning", "HeadgateAccessFileRefused")
    assert the_finding(settings, health, [refused]) == expected


@pytest.mark.parametrize("step", set(NEXT_STEPS.values()), ids=str)
def test_the_next_step_of_an_incident_is_a_page_and_a_command_that_there_are(
    step: NextStep,
) -> None:
    assert not step.page or urlsplit(step.page).path in PATHS
    program, *words = step.command.split()
    if program == "headgate":
        assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0


def test_a_disk_that_is_nearly_full_is_found_by_its_free_bytes_alone() -> None:
    settings = Settings(storage="file:./streams")
    free = Sample(gauge("headgate_storage_free_bytes", "", "route"), ("/v1/stream",), 1 << 20)
    assert the_finding(settings, Health({}, {}), [free]) == ("bad", "HeadgateDiskNearlyFull")
