from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate_admin.model.kinds import HealthState
from headgate_admin.model.overview import Instance
from headgate_admin.record import figures, fleet, overview
from headgate_admin.record.fleet import Fleet
from headgate_admin.record.history import FINEST_S
from headgate_admin.record.recorder import Recorder, pause
from headgate_gateway.access.bans import Ban
from headgate_gateway.background import at_once
from headgate_gateway.features.questions.contract import (
    LONGEST_FIGURES,
    AnswerFailure,
    PeerMetrics,
    ShareMetrics,
)
from headgate_gateway.features.questions.readers import ApplyBans
from headgate_gateway.telemetry.metrics import counter, gauge, histogram
from headgate_gateway.telemetry.traffic import SECONDS as DURATION_SECONDS
from tests.admin.consoles import (
    COLLAPSED,
    DELIVERY,
    LIVE_READERS,
    NOW,
    ORIGIN_UP,
    REPAIRS,
    REQUESTS,
    RESULTS,
    Clock,
    Switchboard,
    observed,
    sample,
    setup,
)
from tests.support import virtual_time
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_admin.model.overview import Attention, Chart, Overview
    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.features.questions.process_source import Setup
    from headgate_gateway.telemetry.metrics import Snapshot
    from tests.support.log_lines import Lines

SHARED, OWN = "/shared", "/own"
ROUTES = [
    {"prefix": SHARED, "storage": "redis://user:s3cret@h"},
    {"prefix": OWN, "origin": "http://origin:8080"},
]
INSTANCE = Instance("here", HealthState("good", "serving"), 1, "0", None, 1)


class Stage:
    """A recorder, and what it looks at."""

    def __init__(self, routes: Sequence[dict[str, str]] = ROUTES) -> None:
        self.clock = Clock()
        self.source = Switchboard()
        self.setup: Setup = setup(self.clock, routes=routes)
        self.recorder = Recorder(self.source, self.setup, "here")

    async def look(self, *numbers: object, after_s: float = 5.0) -> None:
        self.clock.now += after_s
        self.source.numbers = numbers  # type: ignore[assignment] # samples
        await self.recorder.look()

    def attention(self) -> list[Attention]:
        return list(self.recorder.incidents.attention)

    def overview(self) -> Overview:
        now = self.clock.now
        return at_once(overview.overview(self.recorder, self.setup.settings, INSTANCE, "15m", now))


async def test_an_overview_is_made_in_steps_also_while_a_reload_removes_a_route(
    stage: Stage,
) -> None:
    await stage.look(*counted(0))
    await stage.look(*counted(1))
    now = stage.clock.now
    steps = overview.overview(stage.recorder, stage.setup.settings, INSTANCE, "15m", now)
    next(steps)
    stage.recorder.use_settings(setup(stage.clock, routes=ROUTES[:1]).settings)
    shown = at_once(steps)
    assert [route.prefix for route in shown.routes] == [SHARED, OWN]
    assert shown.routes[1].figures.requests is None


@pytest.fixture
def stage() -> Stage:
    return Stage()


def reads(hits: int, misses: int, route: str = OWN) -> list[object]:
    return [
        sample(RESULTS, hits, route, "hit"),
        sample(RESULTS, misses, route, "miss"),
        sample(REQUESTS, hits + misses, route, "read", "2xx"),
    ]


ERRORS = counter("headgate_error_responses_total", "", "route", "status")
REQUEST_TIME = histogram(
    "headgate_request_duration_seconds", "", "route", "operation", bounds=DURATION_SECONDS
)
RECEIVED = counter("headgate_request_bytes_total", "", "route")
AOF = gauge("headgate_redis_aof_enabled", "", "route")
SENT = counter("headgate_response_bytes_total", "", "route")
ORIGIN_TIME = histogram("headgate_origin_request_duration_seconds", "", "route", bounds=(1.0, 2.0))


def counted(looks: int) -> list[object]:
    """What a gateway has counted after so many looks under a steady load."""
    return [
        *reads(1000 + 90 * looks, 1000 + 10 * looks),
        sample(REQUESTS, 5 * looks, OWN, "read", "5xx"),
        *(sample(ERRORS, 5 * looks, OWN, it) for it in ("400", "413", "404", "429", "503")),
        *(
            sample(REQUESTS, number * looks, OWN, "append", status)
            for status, number in (("2xx", 50), ("4xx", 10), ("5xx", 5))
        ),
        sample(RECEIVED, 5_000 * looks, OWN),
        sample(LIVE_READERS, 40, OWN, "sse"),
        sample(LIVE_READERS, 10, OWN, "long_poll"),
        observed(COLLAPSED, {10: looks}, OWN),
        observed(DELIVERY, {0.003: looks}, OWN),
        observed(REQUEST_TIME, {0.002: 99 * looks, 0.2: looks}, OWN, "append"),
        observed(REQUEST_TIME, {5.0: looks}, OWN, "create"),
        observed(REQUEST_TIME, {0.07: looks}, OWN, "read"),
        observed(ORIGIN_TIME, {1.5: looks}, OWN),
        sample(SENT, 35_000 * looks, OWN),
    ]


def ends(chart: Chart) -> dict[str, float | None]:
    """The newest value of each line."""
    return {line.name: line.values[-1] for line in chart.lines}


async def test_the_overview_computes_exact_figures_from_known_samples(stage: Stage) -> None:
    for looks in range(4):  # what was before the first one does not count
        await stage.look(*counted(looks))
    told = stage.overview()
    assert {
        "without_origin": told.without_origin.value,
        "collapse": told.collapse.value,
        "shared": told.shared,
        "live_readers": told.live_readers.value,
        "requests": told.requests.value,
        "delivery_p99": told.delivery.p99.value,
        "appends": told.appends.value,
        "write_share": told.write_share,
        "failed": (told.errors, told.failed.value, told.failed_appends),
        "sent": (told.sent.value, told.received),
        "reads": (told.read.p50, told.read.p99.value),
        "p50": told.append.p50,
        "p99": told.append.p99.value,
        "behind": told.routes[1].figures.p99,
        "errors": told.routes[1].figures.errors,
    } == {
        "without_origin": 0.9,
        "collapse": 10,
        "shared": 3,
        "live_readers": 50,
        "requests": pytest.approx(34.0),
        "delivery_p99": pytest.approx(0.00497, rel=0.01),
        "appends": 10.0,
        "write_share": pytest.approx(65 / 170),
        "failed": (30, pytest.approx(10 / 170), 1.0),
        "sent": (7_000.0, 1_000.0),
        "reads": (pytest.approx(0.075), pytest.approx(0.0995)),
        "p50": pytest.approx(0.00177, rel=0.01),
        "p99": pytest.approx(0.0025),
        "behind": pytest.approx(1.99),
        "errors": 30,
    }
    assert told.readers == {"sse": 40, "long-poll": 10}
    results = {"hit": 18.0, "collapsed": 0.0, "revalidated": 0.0, "stale": 0.0}
    # A failed read is an error and no miss, and a failed append is neither.
    assert ends(told.charts.reads) == {**results, "miss": 1.0, "error": 1.0}
    assert ends(told.charts.appends) == {
        "stored": 10.0,
        "refused": 2.0,
        "failed": 1.0,
        "client left": 0.0,
    }
    causes = {"bad request": 2.0, "not admitted": 0.0, "absent": 1.0}
    assert ends(told.charts.refused) == {**causes, "conflict": 0.0, "too many": 1.0}
    assert told.without_origin.history[-4:] == (None, 0.9, 0.9, 0.9)
    p99 = (told.read.p99, told.append.p99, told.delivery.p99)
    assert list(ends(told.charts.times).values()) == [pytest.approx(it.value) for it in p99]
    assert ends(told.charts.behind) == {SHARED: None, OWN: pytest.approx(1.99)}


async def test_a_route_whose_requests_are_for_absent_streams_says_so(stage: Stage) -> None:
    for looked in range(4):
        await stage.look(
            sample(RESULTS, 10 * looked, SHARED, "miss"),
            sample(REQUESTS, 10 * looked, SHARED, "read", "4xx"),
            sample(ERRORS, 10 * looked, SHARED, "404"),
            *reads(10 * looked, 0),
        )
    absent, other = stage.overview().routes
    assert absent.state.words == "serving, mostly asked for absent streams"
    assert absent.figures.without_origin is None, "not 0 %"
    assert (other.state.words, other.figures.without_origin) == ("serving", 1.0)


async def test_the_chart_of_origins_and_storages_has_the_four_slowest_by_their_routes() -> None:
    stage = Stage([{"prefix": f"/{number}", "storage": "memory:"} for number in range(6)])
    bounds = (0.1, 0.2, 0.4, 0.8, 1.6)
    times = histogram("headgate_append_duration_seconds", "", "route", bounds=bounds)
    for looked in range(2):
        slow = {"/1": 0.3, "/2": 0.1, "/3": 1.5, "/4": 0.2, "/5": 0.7}
        await stage.look(*(observed(times, {took: looked}, it) for it, took in slow.items()))
    assert [it.name for it in stage.overview().charts.behind.lines] == ["/1", "/3", "/4", "/5"]


async def test_a_gateway_is_unused_until_its_first_request_or_stream(stage: Stage) -> None:
    stored = gauge("headgate_storage_streams", "", "route")
    for numbers, is_unused in (
        ((sample(REQUESTS, 0, OWN, "read", "2xx"), sample(stored, 0, SHARED)), True),
        ((sample(stored, 1, SHARED),), False),
        ((sample(REQUESTS, 1, OWN, "read", "4xx"),), False),
    ):
        await stage.look(*numbers)
        assert stage.overview().is_unused is is_unused


async def test_a_route_in_need_of_attention_does_not_say_that_it_serves(stage: Stage) -> None:
    for _ in range(2):
        await stage.look(sample(AOF, 0, SHARED), *reads(10, 0, SHARED), *reads(10, 0))
    assert [it.state for it in stage.overview().routes] == [
        HealthState("warning", "no append-only file"),
        HealthState("good", "serving"),
    ]
    (it,) = stage.attention()
    stage.recorder.incidents.mute(it.id, "ada", stage.clock.now)
    assert stage.overview().routes[0].state.words == "serving"


async def test_charts_begin_with_the_first_data_and_share_one_time_axis(stage: Stage) -> None:
    first = stage.clock.now
    for looked in range(11):
        await stage.look(*reads(10 * looked, 0))
    told = stage.overview()
    charts = (
        told.charts.reads,
        told.charts.refused,
        told.charts.readers,
        told.charts.times,
        told.charts.behind,
    )
    moments = {(it.start, len(line.values)) for it in charts for line in it.lines}
    assert moments == {(first + 10, 10)}
    assert {len(it) for it in (told.collapse.history, told.routes[0].figures.history)} == {10}
    assert told.charts.reads.lines[0].values[0] == 2.0


async def test_rates_of_now_are_of_three_steps_and_readers_of_the_last_look(stage: Stage) -> None:
    requests = 0
    for rate, readers in ((0, 0), (100, 9), (100, 0), (4, 3), (4, 0), (4, 7)):
        requests += 5 * rate
        sse = sample(LIVE_READERS, readers, OWN, "sse")
        await stage.look(sample(REQUESTS, requests, OWN, "read", "2xx"), sse)
    told = stage.overview()
    assert told.requests.value == pytest.approx(4.0)
    assert told.live_readers.value == 7
    assert told.routes[1].figures.readers == told.readers == {"sse": 7, "long-poll": 0}


async def test_a_growing_log_shows_the_time_until_its_quota_or_its_disk_is_full(
    stage: Stage,
) -> None:
    used, most, free = (
        gauge(f"headgate_storage_{it}_bytes", "", "route") for it in ("used", "max", "free")
    )
    facts = []
    for used_bytes in (1_000.0, 1_600.0, 2_200.0, 1_000.0):
        await stage.look(
            sample(used, used_bytes, SHARED),
            sample(most, 10_000.0, SHARED),
            sample(free, 5e12, SHARED),
            after_s=60.0,
        )
        shared, _ = stage.overview().routes
        facts.append({it.name: it.value for it in shared.facts})
    assert facts[0]["Time until full"] == "known in a minute"
    assert facts[3]["Time until full"] == "not growing"
    assert facts[2]["Time until full"] == pytest.approx((10_000 - 2_200) / 10)
    assert facts[2]["Free on the disk"] == 5e12


async def test_an_overview_before_the_first_sample_has_no_figures(stage: Stage) -> None:
    told = stage.overview()
    for stat in (told.without_origin, told.collapse, told.live_readers, told.requests):
        assert (stat.value, set(stat.history)) == (None, {None})
    assert (told.readers, {it for line in told.charts.times.lines for it in line.values}) == (
        {},
        {None},
    )


async def test_the_overview_shows_servers_repairs_and_policy_of_each_route(stage: Stage) -> None:
    stage.source.notes = {f"origin {OWN}": "http://origin:8080 refuses connections"}
    await stage.look(
        sample(REPAIRS, 2, OWN, "cors"),
        sample(REPAIRS, 5, OWN, "etag"),
        sample(ORIGIN_UP, 1, OWN, "a:80"),
        sample(ORIGIN_UP, 0, OWN, "b:80"),
    )
    told = stage.overview()
    shared, own = told.routes
    assert list(own.repairs.items()) == [("etag", 5), ("cors", 2)]
    servers = [("a:80", "up", "good"), ("b:80", "down", "bad")]
    assert [(it.name, it.value, it.level) for it in own.facts] == servers
    assert (own.kind, own.state.words) == ("http", "origin unreachable or failing")
    assert "At most 512 requests are at the origin at once." in own.policy
    assert (shared.kind, shared.state.words) == ("redis", "serving")
    assert shared.origin == "redis://user:***@h:6379"


# ---------------------------------------------------------------- looking again and again

MIDDLE = NOW + FINEST_S / 2  # of a step


async def run(recorder: Recorder, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(recorder.run(), seconds)


class Troubled(Switchboard):
    """A source that fails at its second look, and does not answer at its third."""

    looks = 0

    async def measure(self) -> Snapshot:
        self.looks += 1
        if self.looks == 2:
            raise RuntimeError("secret of the machine room")
        if self.looks == 3:
            await asyncio.Event().wait()
        return (sample(REQUESTS, 10 * self.looks, OWN, "read", "2xx"),)


def test_a_failed_or_slow_sample_leaves_a_gap_is_logged_and_delays_no_ban(logged: Lines) -> None:
    async def record() -> list[float | None]:
        loop = asyncio.get_running_loop()
        source = Troubled()
        made = setup(lambda: MIDDLE + loop.time(), routes=ROUTES)
        recorder = Recorder(source, made, "here")
        banned = Ban(kind="address", value="192.0.2.1", at=MIDDLE, until=MIDDLE + 3600)
        recorder.bans.list.decide(banned)
        await run(recorder, 4 * FINEST_S + 1)
        assert source.looks == 5
        assert source.asked.count(ApplyBans((banned,))) == 5, "a new worker hears of bans"
        rows = recorder.history.of(OWN, "15m", MIDDLE + loop.time())
        return [figures.value(figures.rate("requests"), row) for row in rows][-5:]

    # What was counted in the gap is told with the look that ends it, over all of its seconds.
    assert virtual_time.run(record()) == [None, None, None, 2.0, 2.0]
    levels = {line["event"]: line["log_level"] for line in logged}
    assert (levels["admin.look_failed"], levels["admin.look_missed"]) == ("error", "warning")


class Unsteady(Switchboard):
    """A source that takes a little longer every other time."""

    looks = 0

    async def measure(self) -> Snapshot:
        self.looks += 1
        await asyncio.sleep(0.02 * (self.looks % 2))
        return (sample(REQUESTS, 10 * self.looks, OWN, "read", "2xx"),)


@given(phase_s=st.floats(0, FINEST_S - 0.001))
@example(phase_s=FINEST_S - 0.01)
@settings(max_examples=20 if IS_WHOLE else 5)
def test_every_step_gets_a_sample_whatever_the_phase_of_the_first(phase_s: float) -> None:
    async def record() -> list[float]:
        loop = asyncio.get_running_loop()
        made = setup(lambda: NOW + phase_s + loop.time(), routes=ROUTES)
        recorder = Recorder(Unsteady(), made, "here")
        await run(recorder, 12 * FINEST_S)
        rows = recorder.history.of(OWN, "15m", recorder.looked_at or 0.0)
        return [0.0 if row is None else row[figures.COLUMN["requests"]] for row in rows][-10:]

    assert virtual_time.run(record()) == [10.0] * 10


def test_a_clock_set_back_does_not_delay_the_next_sample() -> None:
    assert pause(began=NOW, now=NOW - 3600) == 1.5 * FINEST_S
    assert pause(began=NOW, now=NOW + 3600) == 0.0


class SlowRedis(Switchboard):
    """A source whose log is down, and whose other gateways cannot be asked."""

    async def query(self, question: Question) -> Sequence[Answer]:
        self.asked.append(question)
        await asyncio.Event().wait()
        return ()


def test_attention_stays_current_while_other_gateways_do_not_respond(logged: Lines) -> None:
    async def record() -> list[float | None]:
        loop = asyncio.get_running_loop()
        source = SlowRedis(state={f"log {SHARED}": "timed out"})
        recorder = Recorder(source, setup(lambda: MIDDLE + loop.time(), routes=ROUTES), "here")
        running = asyncio.create_task(run(recorder, 2 * FINEST_S + 1.5))
        await asyncio.sleep(FINEST_S + 1)
        assert [it.sentence for it in recorder.incidents.attention] == ["log: timed out"]
        source.state = {}
        await asyncio.sleep(FINEST_S)
        assert recorder.incidents.attention == ()
        await running
        rows = recorder.history.of(OWN, "15m", MIDDLE + loop.time())
        assert len([it for it in source.asked if isinstance(it, ShareMetrics)]) == 3
        return [figures.value(figures.rate("requests"), row) for row in rows][-3:]

    assert virtual_time.run(record()) == [None, 0.0, 0.0]  # nothing is missed of our own
    events = [line["event"] for line in logged]
    assert events.count("admin.gateways_not_asked") == 2
    assert "admin.look_missed" not in events


# ---------------------------------------------------------------- attention


AOF_ENABLED = gauge("headgate_redis_aof_enabled", "", "route")
LOG_UP = gauge("headgate_storage_up", "", "route")
DOWN, UP = sample(LOG_UP, 0, SHARED), sample(LOG_UP, 1, SHARED)


async def test_an_alert_needs_attention_from_the_second_look_on_and_more_once_it_fires(
    stage: Stage,
) -> None:
    words = f"The log of {SHARED} takes no appends on this gateway."
    await stage.look(DOWN)
    began = stage.clock.now
    assert stage.attention() == []
    for looks in range(2, 15):
        await stage.look(DOWN)
        (told,) = stage.attention()
        assert (told.sentence, told.route, told.since) == (words, SHARED, began)
        fires = looks > 12
        assert told.level == ("bad" if fires else "warning")
        assert told.note == ("" if fires else "It becomes an alert after 1 min.")
        assert told.alert == "HeadgateLogDown"
        stage.recorder.use_settings(stage.setup.settings)  # a reload changes nothing of it
    (event,) = stage.recorder.events.record.after(0)
    assert (event.kind, event.level, event.route, event.lasts) == ("attention", "bad", SHARED, True)
    await stage.look(UP)
    assert stage.attention() == []
    (event,) = stage.recorder.events.record.after(0)
    assert (event.lasts, event.ended_at) == (False, stage.clock.now)
    assert event.sentence == f"The log of {SHARED} took no appends on this gateway."


async def test_failing_purges_and_a_redis_without_a_file_need_attention(stage: Stage) -> None:
    why = "it answers 500; purges that wait: 2, and readers may get what was deleted"
    stage.source.notes = {"purge fastly SU1Z0isxPaozGVKXdv0eY": why, "purge varnish v:6081": None}
    await stage.look(sample(AOF_ENABLED, 0, SHARED))
    purges, without_file = stage.attention()
    assert (purges.level, purges.route) == ("bad", None)
    assert purges.sentence == f"purge fastly SU1Z0isxPaozGVKXdv0eY: {why}"
    assert (without_file.level, without_file.route) == ("warning", SHARED)


# ---------------------------------------------------------------- gateways that share a log


def told_by(requests: float, readers: float = 0.0, **more: object) -> str:
    routes = {SHARED: {"requests": requests, "sse": readers, "newer_than_us": 1}, "/x": {"a": 1}}
    return json.dumps({"routes": routes, **more})


def answering(told: dict[str, str]) -> object:
    def answer(question: Question) -> list[Answer]:
        assert isinstance(question, ShareMetrics)
        return [PeerMetrics(told), PeerMetrics({"here": told_by(10**9), **told})]

    return answer


async def test_figures_of_gateways_that_share_a_log_add_up(stage: Stage) -> None:
    own = [sample(REQUESTS, 0, SHARED, "read", "2xx")]
    for looked in range(3):
        stage.source.answers = answering(  # type: ignore[assignment] # a source's
            {"there": told_by(100 + 50 * looked, 7, version=2), "far": told_by(25 * looked)}
        )
        own = [sample(REQUESTS, 10 * looked, SHARED, "read", "2xx")]
        await stage.look(*own, *reads(looked, 0))
    told = stage.overview()
    routes = {route.prefix: route.figures for route in told.routes}
    # 10 here, 50 there and 25 far away in each five seconds.
    assert routes[SHARED].requests == pytest.approx(17.0)
    assert routes[SHARED].readers["sse"] == 7
    assert routes[OWN].requests == pytest.approx(0.2)
    assert stage.recorder.fleet.size == 3
    stage.source.answers = answering({})  # type: ignore[assignment] # a source's
    await stage.look(*own)
    assert stage.recorder.fleet.size == 1


async def test_only_figures_of_shared_logs_are_sent_to_other_gateways(stage: Stage) -> None:
    await stage.look(sample(REQUESTS, 3, SHARED, "read", "2xx"), *reads(7, 0))
    (question,) = stage.source.asked
    assert isinstance(question, ShareMetrics)
    assert question.instance == "here"
    told = json.loads(question.figures)
    assert told.keys() == {"routes", "gateway"}
    assert told["routes"] == {SHARED: {"requests": 3.0}}


def test_no_gateway_is_asked_where_no_log_is_shared() -> None:
    assert not Fleet("here", []).is_shared


REQUESTED = '{"routes": {"/shared": {"requests": %s}}}'


def taken(figures_by_gateway: dict[str, str]) -> tuple[Fleet, list[dict[str, list[float]]]]:
    """A fleet that was sent the same at two looks, and what it counted in between."""
    of = Fleet("here", [SHARED])
    answers: list[Answer] = [PeerMetrics(figures_by_gateway), AnswerFailure(503, "away")]
    of.take(NOW, answers, 5)
    return of, of.take(NOW + 5, answers, 5)


TOO_LONG = '{"routes": {}, "x": "' + "y" * LONGEST_FIGURES + '"}'
MALFORMED = ("", "{", "null", "[]", '{"routes": 1}', REQUESTED % '"many"', TOO_LONG)


def test_malformed_figures_of_other_gateways_are_dropped() -> None:
    for garbage in MALFORMED:
        of, counted = taken({"there": garbage})
        assert (of.size, counted) == (1, []), garbage[:50]


def test_negative_or_infinite_figures_of_other_gateways_count_as_zero() -> None:
    for number in ("-5", "1e999", "-0.0"):
        _, counted = taken({"there": REQUESTED % number})
        assert {it for rows in counted for it in rows[SHARED][1:]} <= {0.0}, number


def test_the_number_of_known_gateways_is_bounded() -> None:
    of, _ = taken({f"{n:03d}": told_by(n) for n in range(fleet.MOST_GATEWAYS + 1)})
    assert of.size == 1 + fleet.MOST_GATEWAYS


@pytest.mark.parametrize(
    ("size", "is_shared"), [(LONGEST_FIGURES // 2, True), (LONGEST_FIGURES, False)], ids=str
)
def test_bans_that_are_too_long_for_one_message_do_not_hide_the_gateway(
    size: int, is_shared: bool
) -> None:
    ban = Ban(kind="principal", value="x" * size, at=NOW, until=NOW + 60)
    question = Fleet("there", [SHARED]).question([], [ban])
    assert len(question.figures) <= LONGEST_FIGURES
    of, _ = taken({"there": question.figures})
    assert (of.size, of.bans) == (2, [ban] if is_shared else [])
