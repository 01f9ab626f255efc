"""Incidents: their causes and symptoms, their ends and mutes, and the states of routes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from headgate_admin.alerting.active_alerts import ActiveAlerts
from headgate_admin.alerting.findings import (
    DISK,
    QUOTA,
    IncidentFinding,
    findings,
    health_findings,
    with_causes,
)
from headgate_admin.alerting.incidents import Incidents
from headgate_admin.alerting.next_steps import NEXT_STEPS, OTHERS, next_step
from headgate_admin.alerting.subjects import subjects_of
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import HealthState
from headgate_admin.model.overview import Mute, NextStep
from headgate_admin.record import figures
from headgate_admin.record.route_traffic import RouteTraffic
from headgate_gateway.__main__ import cli
from headgate_gateway.background import at_once
from headgate_gateway.features.questions.contract import FeatureAnswer
from headgate_gateway.features.questions.loudest import LoudestList, StreamLoad
from headgate_gateway.features.questions.process_source import Health
from headgate_gateway.features.questions.subscriptions import SubscriptionPage, SubscriptionSummary
from headgate_gateway.settings import Route, Settings, loading
from headgate_gateway.telemetry.health import (
    ACCESS_FILE,
    CERTIFICATE_FILE,
    STARTING,
    Cause,
    HealthNote,
)
from headgate_gateway.telemetry.metrics import Sample, counter, gauge
from headgate_gateway.tls.certificate_files import FILES_OK
from tests.admin.browser.every_page import PATHS
from tests.admin.consoles import NOW, VIEWER, Switchboard, console, health_of
from tests.support.log_lines import capture_logs

if TYPE_CHECKING:
    from headgate_admin.model.kinds import Level
    from headgate_gateway.features.questions.contract import Answer


def check(
    name: str, reason: str, route: str | None = None, level: Level = "bad"
) -> IncidentFinding:
    return IncidentFinding(("check", name), level, f"{name} is not well", reason, route)


FAILING = IncidentFinding(
    *(("failing", "/r appends"), "bad", "the last appends failed", "Appends failed.", "/r"),
    is_symptom=True,
    about=HealthNote("requests", "/r", Cause("appends_fail")),
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


def test_symptoms_are_below_their_cause_and_only_new_failures_outlast_it() -> None:
    incidents = Incidents()
    log, origin = check("log /r", "timed out", "/r"), check("origin /s", "", "/s")
    looks = [[FAILING], [FAILING, log, origin], [FAILING], [FAILING], []]
    shown, relieved = [], []
    for look, found in enumerate(looks):
        incidents.update(5.0 * look, found)
        shown.append({it.id: [it.sentence for it in it.symptoms] for it in incidents.attention})
        relieved.append(incidents.relieved)
    alone: dict[str, list[str]] = {"failing /r appends": []}
    both = {"check log /r": ["Appends failed."], "check origin /s": []}
    assert shown == [alone, both, {}, alone, {}]
    assert relieved == [set(), set(), {"/r"}, set(), set()]
    ended = {it.id: (it.since, it.ended_at) for it in incidents.ended}
    over = {"check log /r": (5.0, 10.0), "check origin /s": (5.0, 10.0)}
    assert ended == {"failing /r appends": (0.0, 20.0), **over}


BURNING = IncidentFinding(
    ("alert", "HeadgateErrorBudgetBurnsFast /r"), "bad", "burns", "4%.", "/r", is_symptom=True
)


def test_symptoms_without_a_cause_are_below_what_the_last_requests_got() -> None:
    incidents = Incidents()
    log = check("log /r", "timed out", "/r")
    shown = []
    for now, found in (
        (0.0, [BURNING]),
        (5.0, [BURNING, FAILING]),
        (10.0, [BURNING]),  # it outlasts that
        (15.0, []),
        (20.0, [log, FAILING]),
        (25.0, [BURNING, FAILING]),
        (30.0, [BURNING, FAILING]),
        (35.0, [log, BURNING]),
        (40.0, [BURNING]),
        (75.0, [BURNING]),
    ):
        incidents.update(now, found)
        shown.append({it.id: [it.sentence for it in it.symptoms] for it in incidents.attention})
    assert shown == [
        {BURNING.id: []},
        {FAILING.id: ["4%."]},
        {BURNING.id: []},
        {},
        {log.id: ["Appends failed."]},
        {},  # the failures may be those of the log
        {FAILING.id: ["4%."]},
        {log.id: ["4%."]},
        {},  # the share may still be that of the log
        {BURNING.id: []},
    ]


SLOW = IncidentFinding(("alert", "HeadgateOriginSlow /r"), "warning", "slow", "Slow.", "/r")
FULL = IncidentFinding(
    ("alert", "HeadgateDiskNearlyFull /r"), "bad", "disk", "1 MiB left.", "/r", DISK
)
NO_ROOM = check("log /r", "the disk is full", "/r")._replace(alert="HeadgateLogDown")
USED_UP = check("quota /r", "507", "/r", "warning")._replace(alert=QUOTA)
REFUSED = IncidentFinding(
    ("alert", "HeadgateRequestsRefused max_storage_size"), "warning", "refused", "Refused."
)
FILE = check("/c.pem", "/c.pem is no certificate", level="warning")._replace(
    about=HealthNote(CERTIFICATE_FILE, "/c.pem")
)
SETTINGS = check("settings", "it is no certificate")._replace(
    about=HealthNote("settings", cause=Cause("not_readable"))
)


@pytest.mark.parametrize(
    ("cause", "symptoms"),
    [
        pytest.param(SLOW, [FAILING], id="failures-of-a-slow-origin"),
        pytest.param(FULL, [NO_ROOM, FAILING], id="full-disk"),
        pytest.param(USED_UP, [REFUSED], id="used-up-quota"),
        pytest.param(FILE, [SETTINGS], id="settings-with-a-refused-file"),
    ],
)
def test_a_fault_is_one_incident_which_is_as_severe_as_its_worst_symptom(
    cause: IncidentFinding, symptoms: list[IncidentFinding]
) -> None:
    incidents = Incidents()
    incidents.update(0.0, [*with_causes([*symptoms, cause])])
    (shown,) = incidents.attention
    assert shown.id == cause.id
    assert {it.sentence for it in shown.symptoms} == {it.sentence for it in symptoms}
    assert shown.level == min(it.level for it in (cause, *symptoms))  # bad, warning


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
    assert ([it.since for it in incidents.attention], incidents.ended) == ([4002.0], ())


def test_an_end_is_never_in_the_future_and_a_start_never_ends_as_an_incident() -> None:
    incidents = Incidents()
    starts = tuple(health_findings(health_of({"worker 1/2": STARTING})))
    for now, found in ((0.0, [check("a", ""), *starts]), (900.0, []), (400.0, [])):
        incidents.update(now, found)
    assert [(it.id, it.since, it.ended_at) for it in incidents.ended] == [("check a", 0.0, 400.0)]


def test_muted_incidents_come_last() -> None:
    incidents = Incidents()
    incidents.update(0.0, [check("a", ""), check("b", "", level="warning")])
    incidents.mute("check a", "ada", 0.0)
    assert [it.id for it in incidents.attention] == ["check b", "check a"]


LOG = "check log /r"


@pytest.mark.parametrize(
    ("later", "mute"),
    [
        ([(1799.0, "timed out after 4 s", "bad")], Mute("ada", 1800.0)),
        ([(1800.0, "timed out after 4 s", "bad")], None),
        ([(5.0, "missed its health check within 1.5 s", "bad")], Mute("ada", 1800.0)),
        ([(5.0, "timed out after 3 s", "warning")], Mute("ada", 1800.0)),
        ([(5.0, "", "bad"), (9.0, "timed out after 3 s", "bad")], Mute("ada", 1800.0)),
    ],
    ids=["goes on", "half an hour", "other words", "less bad", "over for a while"],
)
def test_a_mute_lasts_for_half_an_hour_or_until_another_cause(
    later: list[tuple[float, str, Level]], mute: Mute | None
) -> None:
    incidents = Incidents()
    incidents.update(0.0, [check("log /r", "timed out after 3 s", "/r")])
    incidents.mute(LOG, "ada", 0.0)
    assert incidents.state() == HealthState("good", "serving; 1 muted")
    for now, reason, level in later:
        incidents.update(now, [check("log /r", reason, "/r", level)] if reason else [])
    assert incidents.attention[0].mute == mute


@pytest.mark.parametrize(
    "later",
    [
        [check("log /r", "slow", "/r")],
        [check("log /r", "slow", "/r", "warning")._replace(alert="HeadgateLogDown")],
        [check("log /r", "slow", "/r", "warning"), FAILING],
    ],
    ids=["worse", "another cause", "worse symptom"],
)
def test_a_mute_ends_with_another_cause_or_level_and_an_ended_incident_has_none(
    later: list[IncidentFinding],
) -> None:
    incidents = Incidents()
    incidents.update(0.0, [check("log /r", "slow", "/r", "warning")])
    incidents.mute(LOG, "ada", 0.0)
    incidents.update(5.0, later)
    assert incidents.attention[0].mute is None
    with pytest.raises(ConsoleError, match="over"):
        incidents.mute("check log /s", "ada", 5.0)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"no": 1.0}, "no acknowledged write was lost"),
        ({"unknown": 1.0}, "it is not known"),
        ({"unknown": 1.0, "no": 1.0}, "no acknowledged write was lost"),
        ({}, None),
    ],
    ids=["no loss", "unknown", "two workers", "no failover"],
)
def test_a_failover_of_redis_is_an_incident_that_is_over_at_once(
    counts: dict[str, float], words: str | None
) -> None:
    histories = counter("headgate_storage_histories_total", "", "route", "lost")
    incidents = Incidents()
    for now, numbers in ((0.0, {}), (5.0, counts), (10.0, counts)):
        samples = [
            Sample(histories, ("/r", lost), numbers.get(lost, 0.0)) for lost in ("no", "unknown")
        ]
        incidents.update(now, [], samples)
    found = [(it.sentence, it.ended_at) for it in incidents.ended]
    assert [at for _, at in found] == [5.0] * bool(counts)
    assert all(words is not None and words in sentence for sentence, _ in found)
    assert incidents.attention == ()


FETCHES = counter("headgate_origin_fetches_total", "", "route")
REFETCHES = counter("headgate_redis_refetches_total", "", "route")
RESULTS = counter("headgate_cache_results_total", "", "route", "result")
REQUESTS = counter("headgate_origin_requests_total", "", "route", "result")


def reads(fetched: float, of: float) -> list[Sample]:
    return [Sample(FETCHES, ("/r",), fetched), Sample(RESULTS, ("/r", "hit"), of)]


def refetches(fetched: float, of: float) -> list[Sample]:
    return [Sample(REFETCHES, ("/log",), fetched), Sample(RESULTS, ("/log", "miss"), of)]


def answers(failed: float, of: float) -> list[Sample]:
    numbers = {"5xx": failed, "ok": of - failed}
    return [Sample(REQUESTS, ("/r", result), number) for result, number in numbers.items()]


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        pytest.param(
            (reads(0, 0), reads(500, 1000), reads(520, 1040)),
            "50% of the reads of /r were fetched from the origin.",
            id="few-hits",
        ),
        pytest.param(
            (reads(0, 0), reads(500, 1000), reads(503, 1040)), None, id="hits-enough-by-now"
        ),
        pytest.param((reads(0, 0), reads(290, 1000), reads(300, 1040)), None, id="hits-enough"),
        pytest.param((reads(0, 0), reads(850, 850), reads(890, 890)), None, id="few-reads"),
        pytest.param(
            (refetches(0, 0), refetches(500, 1000), refetches(520, 1040)),
            "50% of the reads of /log were fetched from Redis although they had been fetched"
            " before.",
            id="few-hits-of-redis",
        ),
        pytest.param(
            (refetches(0, 0), refetches(290, 1000), refetches(300, 1040)),
            None,
            id="hits-enough-of-redis",
        ),
        pytest.param(
            (refetches(0, 0), refetches(850, 850), refetches(890, 890)),
            None,
            id="few-reads-of-redis",
        ),
        pytest.param(
            (answers(0, 0), answers(33, 100), answers(35, 106)),
            "33% of the requests to the origin of /r failed.",
            id="failing-origin",
        ),
        pytest.param((answers(0, 0), answers(33, 100), answers(33, 106)), None, id="failed-before"),
    ],
)
def test_a_ratio_of_rates_needs_attention_beyond_its_bound(
    looks: tuple[list[Sample], ...], words: str | None
) -> None:
    origin = Route(prefix="/r", origin="http://127.0.0.1:1/v1")
    log = Route(prefix="/log", storage="redis://127.0.0.1")
    settings = Settings(routes=(origin, log))
    alerts = ActiveAlerts(settings)
    for now, samples in zip((0.0, 5.0, 150.0), looks, strict=True):
        at_once(alerts.look(now, samples))
    found = [it.sentence for it in findings(Health(), [], alerts, settings, {})]
    assert found == ([words] if words else [])


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
        pytest.param(
            [{"appends_failed": 1.0}, {"appends": 4.0, "appends_failed": 1.0}],
            "appends",
            id="some-fail-still",
        ),
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
        row = figures.totals({})
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
    muting = {"mute": "check log /v1/stream"}
    source = Switchboard({"log /v1/stream": "timed out"})
    with capture_logs() as lines:
        async with console(source) as client:
            await client.look()
            page = await client.page("/configuration")
            for shown in ("<title>1 ✕ Configuration", "headgate-bad.svg", 'data-level="bad"'):
                assert shown in page
            assert (await client.send("POST", "/", VIEWER, data=muting))[0] == 403
            assert (await client.send("POST", "/", data=muting))[0] == 303
            page = await client.page("/")
            assert "Muted by shop until" in page
            assert "<title>Overview" in page
            assert "data-level=" not in page
            _, shown = await client.api("GET", "overview", token=VIEWER)
            assert shown["instance"]["state"] == {"level": "good", "words": "serving; 1 muted"}
            assert (await client.send("GET", "/readyz"))[0] == 503
            assert (await client.send("POST", "/", data={"unmute": muting["mute"]}))[0] == 303
            assert 'data-level="bad"' in await client.page("/configuration")
    logged = [it["operation"] for it in lines if it["event"] == "admin.changed"]
    assert logged == ["mute", "unmute"]


FILE_OK = gauge("headgate_access_file_ok", "", "setting")
CERTIFICATE = str(Path.cwd() / "c.pem")
TLS = {"tls": {"certificate": "c.pem", "key": "c.key"}}
ISSUERS = [
    {
        "issuer": name,
        "audience": "a",
        "jwks": f"/etc/{name}.json",
        "algorithms": ["EdDSA"],
        "grants": [{"streams": "/*", "operations": ["read"]}],
    }
    for name in ("first", "second")
]
ACCESS = {"credentials": {"tokens_file": "/etc/tokens.toml", "jwt_issuers": ISSUERS}}
FREE = gauge("headgate_storage_free_bytes", "", "route")
ONE_FINDING: dict[str, tuple[dict[str, Any], Sample, tuple[HealthNote, ...], Level, str]] = {
    "a refused certificate": (
        TLS,
        Sample(FILES_OK, ("tls.certificate",), 0.0),
        (HealthNote(CERTIFICATE_FILE, CERTIFICATE, Cause("not_used", {"reason": "too old"})),),
        *("warning", "HeadgateCertificateFilesRefused"),
    ),
    "an expired certificate": (
        TLS,
        Sample(FILES_OK, ("tls.certificate",), 0.0),
        (HealthNote(CERTIFICATE_FILE, CERTIFICATE, Cause("has_ended", {"reason": "has ended"})),),
        *("bad", "HeadgateCertificateExpired"),
    ),
    "a refused tokens file": (
        ACCESS,
        Sample(FILE_OK, ("credentials.tokens_file",), 0.0),
        (HealthNote(ACCESS_FILE, "/etc/tokens.toml", Cause("refused", {"reason": "line 3"})),),
        *("warning", "HeadgateAccessFileRefused"),
    ),
    "refused keys of the second issuer": (
        ACCESS,
        Sample(FILE_OK, ("credentials.jwt_issuers[1].jwks",), 0.0),
        (HealthNote(ACCESS_FILE, "/etc/second.json", Cause("refused", {"reason": "line 3"})),),
        *("warning", "HeadgateAccessFileRefused"),
    ),
    "a log that serves reads alone": (
        {},
        Sample(gauge("headgate_storage_up", "", "route"), ("/v1/stream",), 0),
        (HealthNote("log", "/v1/stream", Cause("read_only", {"reason": "too few replicas"})),),
        *("bad", "HeadgateLogDown"),
    ),
    "a disk that is nearly full": (
        {"storage": "file:./streams"},
        Sample(FREE, ("/v1/stream",), 1 << 20),
        (),
        *("bad", "HeadgateDiskNearlyFull"),
    ),
}


@pytest.mark.parametrize("name", ONE_FINDING)
def test_an_alert_and_the_check_of_the_same_are_one_finding(name: str) -> None:
    given, sample, notes, level, alert = ONE_FINDING[name]
    settings = Settings(**{"storage": "memory:", **given})
    alerts = ActiveAlerts(settings)
    for now in (1000.0, 1000.0 + 5):
        at_once(alerts.look(now, [sample]))
    (found,) = findings(Health((), notes), [sample], alerts, settings, {})
    assert (found.level, found.alert) == (level, alert)


HERE = "--admin http://127.0.0.1:4439"
SUBSCRIPTIONS = gauge("headgate_subscriptions", "", "route", "state")
FASTEST = Sample(gauge("headgate_fastest_stream_bytes", ""), (), 3e5)


def load(name: str, received_bytes: float) -> StreamLoad:
    others = dict.fromkeys(("load", "requests", "appends", "refused", "sent_bytes"), 1.0)
    return StreamLoad(route="/v1/stream", name=name, received_bytes=received_bytes, **others)


def failing(name: str) -> SubscriptionSummary:
    known = {
        "route": "/v1/stream",
        "id": name,
        "kind": "webhook",
        "pattern": "*",
        "owner": "",
        "receiver": "https://hooks.example/…",
        "wake_stream": None,
        "is_in_flight": False,
        "status": "failed",
        "failures": 3,
        "last_error": "refused",
        "streams": 1,
        "pending": 1,
        "oldest_at": NOW,
    }
    return msgspec.convert(known, SubscriptionSummary)


@pytest.mark.parametrize(
    ("samples", "answers", "words", "step"),
    [
        pytest.param(
            [FASTEST],
            (
                LoudestList((), (load("quiet", 1e4), load("hot", 2e5))),
                LoudestList((), (load("hot", 1e5),)),
            ),
            "/v1/stream/hot grew by 18 MB a minute, 97% of all that was written.",
            NextStep(
                "/streams/one?route=%2Fv1%2Fstream&name=hot&tab=change",
                "headgate stream head http://127.0.0.1:4437/v1/stream/hot",
            ),
            id="stream-of-two-workers",
        ),
        pytest.param(
            [FASTEST],
            (),
            "A stream of this gateway grew by 0.3 MiB a second.",
            NextStep("/clients?show=usage", f"headgate top --once {HERE}"),
            id="stream-without-an-answer",
        ),
        pytest.param(
            [Sample(SUBSCRIPTIONS, ("/v1/stream", "failed"), 2.0)],
            (FeatureAnswer.of(SubscriptionPage((failing("orders"),), 2, {})),),
            "Wakes of the subscription orders of /v1/stream to https://hooks.example/… failed, as"
            " those of 1 more: refused.",
            NextStep(
                "/subscriptions?order=oldest",
                f"headgate stream subscriptions list --order oldest {HERE}",
            ),
            id="subscription",
        ),
        pytest.param(
            reads(1000, 1000),
            (LoudestList((), (load("other", 1.0), replace(load("hot", 1.0), route="/r"))),),
            "100% of the reads of /r were fetched from the origin.",
            NextStep("/caches?target=%2Fr%2Fhot", "curl -sS -m 5 -i http://127.0.0.1:4437/r/hot"),
            id="few-hits",
        ),
    ],
)
async def test_an_alert_names_its_stream_or_subscription_and_leads_there(
    samples: list[Sample], answers: tuple[Answer, ...], words: str, step: NextStep
) -> None:
    routes = (
        Route(prefix="/v1/stream", storage="memory:"),
        Route(prefix="/r", origin="http://127.0.0.1:1/v1"),
    )
    settings = Settings(routes=routes)
    alerts = ActiveAlerts(settings)
    last = reads(1100, 1100) if samples == reads(1000, 1000) else samples
    looks = ((0.0, reads(0, 0)), (5.0, samples), (150.0, samples), (295.0, last))
    for now, counted in looks:
        at_once(alerts.look(now, counted))
    subjects = await subjects_of(Switchboard(answers=lambda _: answers), alerts, settings)
    (found,) = findings(Health(), [], alerts, settings, subjects)
    assert found.sentence == words
    assert replace(next_step(found, settings), advice="") == step


def test_a_check_of_settings_names_the_file_that_the_server_has_read(tmp_path: Path) -> None:
    file = tmp_path / "head gate.toml"
    file.write_text('storage = "memory:"')
    incidents = Incidents()
    incidents.settings = loading.load(file, {}, {})
    refused = check("settings", "refused")._replace(about=HealthNote("settings"))
    incidents.update(0.0, [refused])
    command = f"headgate config check --config '{file}'"
    assert incidents.attention[0].next.command == command


@pytest.mark.parametrize("step", {*NEXT_STEPS.values(), OTHERS}, ids=str)
def test_the_next_step_of_an_incident_is_a_page_and_a_command_that_there_are(
    step: NextStep,
) -> None:
    assert not step.page or urlsplit(step.page).path in PATHS
    program, *words = step.command.split()
    if program == "headgate":
        assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0
