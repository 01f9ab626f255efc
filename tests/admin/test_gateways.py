"""The gateways that share a log: which there are, what each uses, and which of them is silent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from headgate_admin.model.kinds import HealthState
from headgate_admin.record.event_collector import EventCollector
from headgate_admin.record.event_record import ConsoleEvent
from headgate_admin.record.fleet import MOST_SILENT, SILENT_FOR_S, Fleet
from headgate_admin.record.gateways import LONGEST_TEXT, MISSED_LOOKS, GatewayReport
from headgate_gateway.features.questions.contract import PeerMetrics
from headgate_gateway.runtime.shedding import STILL_S
from headgate_gateway.telemetry.event_journal import STOOD_STILL, EventJournal
from tests.admin.asking import api, page
from tests.admin.consoles import NOW, Switchboard
from tests.support.processes import headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until
from tests.workers.several import Several

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_admin.record.gateways import GatewayView
    from tests.support.processes import Headgate


# ---------------------------------------------------------------- real gateways on one Redis


def listed(at: Headgate) -> dict[str, Any]:
    """Return the gateways that one of them lists, by name."""
    return {it["name"]: it for it in api(at, "gateways")["gateways"]}


def asks_for_attention(at: Headgate) -> list[str]:
    found = api(at, "overview")["attention"]
    return [it["sentence"] for it in found if "silent" in it["sentence"]]


@pytest.mark.usefixtures("processes")
def test_gateways_on_one_redis_list_each_other_and_tell_a_stop_from_silence(
    tmp_path: Path,
) -> None:
    two = ("--workers", "2")
    with (
        redis_server(tmp_path) as redis,
        headgate(redis.url) as first,
        headgate(redis.url) as killed,
        headgate(redis.url, arguments=two) as stopped,
    ):
        here, killed_name, stopped_name = (
            f"127.0.0.1:{it.port}" for it in (first, killed, stopped)
        )
        wait_until(
            lambda: (
                len(listed(first)) == 3
                and all(it["processor"] is not None for it in listed(first).values())
            ),
            "the first has heard of the others twice",
        )
        gateways = listed(first)
        assert next(iter(gateways)) == here
        assert [it["is_this"] for it in gateways.values()] == [True, False, False]
        assert [gateways[it]["workers"] for it in (here, killed_name, stopped_name)] == [1, 1, 2]
        for it in gateways.values():
            assert it["host"] == socket.gethostname()
            assert it["state"]["level"] == "warning"  # there is no append-only file
            assert it["version"] == gateways[here]["version"]
            assert it["memory"] > 1 << 20
            assert 0 < it["files"] < it["most_files"]
            assert it["connections"] is not None
        (route,) = api(first, "overview")["routes"]
        facts = {it["name"]: it["value"] for it in route["facts"]}
        assert facts["Role"] == "primary"
        assert facts["Round trip to the primary"] > 0
        killed.kill()
        assert stopped.terminate() == 0
        wait_until(
            lambda: (
                [listed(first)[it]["state"]["words"] for it in (killed_name, stopped_name)]
                == ["silent", "stopped"]
            ),
            "both are missed",
            within_s=60,
        )
        wait_until(lambda: asks_for_attention(first) != [], "the next look has found it")
        (sentence,) = asks_for_attention(first)
        assert killed_name in sentence
        shown = page(first, "/gateways", "")
        assert shown.index(here) < shown.index(killed_name)
        assert "this one" in shown
        events = api(first, "events")["events"]
        told = [it["sentence"] for it in events if it["kind"] == "attention" and it["lasts"]]
        assert [it for it in told if "silent" in it] == [sentence]
        announced = [it for it in events if it["sentence"] == "the server began to drain and stop"]
        assert [it["gateway"].startswith(stopped_name) for it in announced] == [True]


@pytest.mark.usefixtures("processes")
def test_gateways_are_not_called_silent_while_redis_is_away(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, headgate(redis.url) as first, headgate(redis.url):
        wait_until(lambda: len(listed(first)) == 2, "the first has heard of the other")
        redis.kill()
        wait_until(
            lambda: api(first, "overview")["instance"]["gateways"] == 1,
            "the first hears nothing any more",
        )
        assert [it["silent_since"] for it in listed(first).values()] == [None, None]


class Silence(NamedTuple):
    """What is said of a gateway's silence; `lasted` is None while it goes on."""

    place: str
    sentence: str
    since: float
    lasted: float | None


def silences(at: Headgate, name: str) -> list[Silence]:
    """Return what the first page and the events say of a gateway's silence."""
    overview = api(at, "overview")
    cards = [("card", it, it["since"]) for it in (*overview["attention"], *overview["ended"])]
    events = [("event", it, it["at"]) for it in api(at, "events")["events"]]
    return [
        Silence(place, it["sentence"], since, it["ended_at"] and it["ended_at"] - since)
        for place, it, since in (*cards, *events)
        if f"the gateway {name}" in it["sentence"]
    ]


def signal_all(number: signal.Signals, server: Several) -> None:
    """Send a signal to all processes of a server."""
    for pid in (server.pid, *server.workers().values()):
        os.kill(pid, number)


@pytest.mark.timeout(150)  # 25 s until it is silent, on a busy machine
@pytest.mark.usefixtures("processes")
def test_a_gateway_that_stood_still_was_silent_for_as_long_as_it_says_itself(
    tmp_path: Path,
) -> None:
    with (
        redis_server(tmp_path) as redis,
        headgate(redis.url) as first,
        headgate() as alone,
        contextlib.closing(Several(redis.url, arguments=("--workers", "2"))) as stopped,
    ):
        stopped.start()
        name, own = (f"127.0.0.1:{it.port}" for it in (stopped, alone))
        wait_until(lambda: name in listed(first) and stopped.is_ready(), "both workers serve")

        def now() -> float:
            return float(api(first, "overview")["taken_at"])

        began = now()
        os.kill(alone.pid, signal.SIGSTOP)
        signal_all(signal.SIGSTOP, stopped)
        wait_until(lambda: now() - began > STILL_S + 1, "a look is missed")
        os.kill(alone.pid, signal.SIGCONT)
        short_s = now() - began
        wait_until(lambda: silences(first, name) != [], "it is silent", within_s=60)
        signal_all(signal.SIGCONT, stopped)
        long_s = now() - began
        check_silence(alone, own, "server", began, short_s, ["card"])
        check_silence(first, name, "supervisor", began, long_s, ["card", "event"])


def check_silence(
    at: Headgate, name: str, process: str, since: float, lasted_s: float, places: list[str]
) -> None:
    """Wait until it is told as over at these places, by its own measure."""
    wait_until(
        lambda: [it.place for it in silences(at, name) if it.lasted is not None] == places,
        "it has said so",
        lambda: f"{silences(at, name)}",
    )
    for it in silences(at, name):
        assert f"was silent: the {process} stood still for " in it.sentence
        assert it.since == pytest.approx(since, abs=2)
        assert it.lasted == pytest.approx(lasted_s, abs=2)


# ---------------------------------------------------------------- what a gateway is told


class Looks:
    """The fleet of one gateway, and its looks, five seconds apart."""

    def __init__(self) -> None:
        self.now = NOW
        self.fleet = Fleet("here/1", ["/shared"])

    def look(self, *present: GatewayReport, is_whole: bool = True) -> None:
        sent = {f"{it.name}/{it.host}/{it.started_at}": msgspec.json.encode(it) for it in present}
        self.take(sent, is_whole=is_whole)

    def take(self, sent: dict[str, bytes], *, is_whole: bool = True) -> None:
        self.now += 5
        self.fleet.own.update(self.now, GatewayReport(name="here", host="a"))
        totals = {it: f'{{"routes": {{}}, "gateway": {of.decode()}}}' for it, of in sent.items()}
        self.fleet.take(self.now, [PeerMetrics(totals, is_whole)], 5)

    @property
    def instance(self) -> str:
        """The unique name of the only other gateway."""
        (only,) = self.fleet.events
        return only

    @property
    def others(self) -> list[GatewayView]:
        return [it for it in self.fleet.views if not it.is_this]

    def states(self) -> list[str]:
        return [it.state.words for it in self.others]

    def findings(self) -> list[str]:
        return [it.sentence for it in self.fleet.findings()]


THERE = GatewayReport(name="there", host="b", started_at=NOW)


STOPPING = msgspec.structs.replace(THERE, is_stopping=True, level="warning", words="draining")
HOUR = int(SILENT_FOR_S / 5)


@pytest.mark.parametrize(
    ("looks", "states", "findings"),
    [
        ("T.T.", ["serving"], 0),
        ("T..", ["silent"], 1),
        ("T..T", ["serving"], 0),
        ("T" + "?" * 10, ["serving"], 0),
        ("S", ["draining"], 0),
        ("S" + "." * MISSED_LOOKS, ["stopped"], 0),
        pytest.param("T" + "." * HOUR, ["silent"], 1, id="silent-for-an-hour"),
        pytest.param("T" + "." * (HOUR + 1), [], 0, id="forgotten-after-an-hour"),
    ],
)
def test_a_gateway_is_silent_after_two_missed_looks_unless_it_has_announced_its_stop(
    looks: str, states: list[str], findings: int
) -> None:
    """T: it reports, S: that it stops, a dot: it does not, ?: not every log could be asked."""
    seen, heard_at = Looks(), 0.0
    for look in looks:
        seen.look(*{"T": [THERE], "S": [STOPPING]}.get(look, []), is_whole=look != "?")
        heard_at = seen.now if look == "T" else heard_at
    assert (seen.states(), ["there on b" in it for it in seen.findings()]) == (
        states,
        [True] * findings,
    )
    if states == ["silent"]:
        (silent,) = seen.others
        assert (silent.state.level, silent.silent_since) == ("bad", heard_at)


def test_a_gateway_that_was_stopped_is_silent_since_its_last_report_of_its_own() -> None:
    looks, events = Looks(), EventCollector(Switchboard())
    last = msgspec.structs.replace(THERE, at=NOW)
    looks.look(last)
    stopped_at = looks.now
    for _ in range(3):  # for as long Redis keeps the report
        looks.look(last)
    for _ in range(MISSED_LOOKS):
        looks.look()
    events.note_findings(looks.now, tuple(looks.fleet.findings()))
    looks.look(msgspec.structs.replace(last, at=looks.now))
    assert (looks.states(), looks.findings()) == (["serving"], [])
    events.note_findings(looks.now, ())
    (event,) = events.record.after(0)
    assert (event.at, event.ended_at) == (stopped_at, looks.now)
    assert event.lasted == 5 * (3 + MISSED_LOOKS + 1)
    journal = EventJournal()
    journal.note(STOOD_STILL, {"process": "the server", "for_s": 27.0})
    (still,) = journal.events_after(0).events
    still = msgspec.structs.replace(still, at=stopped_at + 1, ended_at=stopped_at + 28)
    events.record.add([still])
    (shared,) = events.record.after(event.sequence)
    shared = msgspec.structs.replace(shared, gateway=looks.instance)
    for _ in range(2):  # also when it has been told already
        measured = tuple(looks.fleet.findings([shared]))
        events.note_findings(looks.now, measured)
        assert [(it.since, it.ended_at) for it in measured] == [(stopped_at + 1, stopped_at + 28)]
    (event,) = (it for it in events.record.after(0) if it.kind == "attention")
    assert (event.at, event.lasted, event.lasts) == (stopped_at + 1, 27.0, False)
    assert event.sentence.endswith("was silent: the server stood still for 27.0 s")


@pytest.mark.parametrize(
    ("process", "ahead", "since"),
    [("the supervisor", 0.0, [NOW]), ("the server", 40.0, [NOW - 40]), ("worker 1", 0.0, [])],
    ids=["all", "its clock is ahead", "a worker alone"],
)
def test_a_gateway_was_silent_while_it_stood_still_though_no_look_has_missed_it(
    process: str, ahead: float, since: list[float]
) -> None:
    looks = Looks()
    looks.look(msgspec.structs.replace(THERE, at=looks.now + 5 + ahead))
    still = ConsoleEvent(
        sequence=1,
        kind="server",
        cause=STOOD_STILL,
        subject=f"{process} 12.0",
        level="warning",
        sentence=f"{process} stood still for 12.0 s",
        at=NOW,
        last_at=NOW + 12,
        ended_at=NOW + 12,
        gateway=looks.instance,
    )
    found = [(it.since, it.ended_at) for it in looks.fleet.findings([still])]
    assert found == [(at, at + 12) for at in since]


@pytest.mark.parametrize(
    ("ahead", "shown"),
    [(0.0, 0.0), (0.9, 0.0), (3.0, 3.0), (-12.0, 0.0), (-40.0, -40.0)],
    ids=["the-same", "synchronised", "ahead", "a-late-report", "behind"],
)
def test_the_clock_of_another_gateway_is_ahead_or_behind_by_more_than_a_report_is_late(
    ahead: float, shown: float
) -> None:
    looks = Looks()
    for delay in (2.0, 0.0, 5.0):  # the newest report of several is the nearest
        looks.look(msgspec.structs.replace(THERE, at=looks.now + 5 + ahead - delay))
    assert [it.clock_skew for it in looks.others] == [shown]


def test_a_gateway_that_was_started_again_takes_the_place_of_the_silent_one() -> None:
    looks, elsewhere = Looks(), msgspec.structs.replace(THERE, host="c")
    looks.look(THERE)
    looks.look(msgspec.structs.replace(THERE, started_at=NOW + 5))
    assert looks.states() == ["serving"]
    looks.look(THERE, elsewhere)
    looks.look(elsewhere)
    assert [(it.host, it.state.words) for it in looks.others] == [
        ("b", "serving"),
        ("c", "serving"),
    ]


def test_at_most_a_bounded_number_of_silent_gateways_is_kept() -> None:
    looks = Looks()
    for number in range(MOST_SILENT + 1):
        looks.look(GatewayReport(name=f"{number:03d}", host="b"))
    for _ in range(MISSED_LOOKS):
        looks.look()
    names = [it.name for it in looks.others]
    assert (len(names), names[0], names[-1]) == (MOST_SILENT, "001", f"{MOST_SILENT:03d}")


@pytest.mark.parametrize(
    ("encoded", "name", "memory", "state"),
    [
        (b"null", "10.0.0.1:4437", None, "serving"),
        (b'{"workers": "many"}', "10.0.0.1:4437", None, "serving"),
        (b'{"name": 1}', "10.0.0.1:4437", None, "serving"),
        (b'{"name": "n", "memory": -1, "newer": [1], "level": "purple"}', "n", None, "serving"),
        (b'{"memory": 2, "words": "odd", "level": "x"}', "10.0.0.1:4437", 2.0, "odd"),
    ],
    ids=["null", "another-type", "no-text", "newer-and-impossible", "without-a-name"],
)
def test_a_gateway_is_listed_by_what_is_valid_of_its_report(
    encoded: bytes, name: str, memory: float | None, state: str
) -> None:
    looks = Looks()
    looks.take({"10.0.0.1:4437/ab12": encoded})
    assert [(it.name, it.memory, it.state.words) for it in looks.others] == [(name, memory, state)]


def test_texts_of_another_gateway_are_cut_and_an_unknown_level_is_a_warning() -> None:
    looks = Looks()
    looks.look(GatewayReport(name="n" * 1000, level="purple", words="w" * 1000))
    (shown,) = looks.others
    assert (shown.name, shown.state) == (
        "n" * LONGEST_TEXT,
        HealthState("warning", "w" * LONGEST_TEXT),
    )


def test_an_older_answer_of_a_log_counts_as_whole() -> None:
    assert msgspec.json.decode(b'{"type": "PeerMetrics", "figures": {}}', type=PeerMetrics).is_whole
