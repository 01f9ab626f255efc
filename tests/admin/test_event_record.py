"""The record of events: bounds, pairs of beginning and end, floods and other gateways."""

from __future__ import annotations

from string import Formatter
from typing import get_args

import msgspec
import pytest

from headgate_admin.record.event_record import (
    MOST_OF_A_NAME,
    MOST_SHARED,
    NEAR_S,
    SHARED_FOR_S,
    EventQuery,
    EventRecord,
)
from headgate_gateway.commands.monitor.monitoring import KINDS, LEVELS
from headgate_gateway.telemetry.event_journal import (
    EVENT_RULES,
    LASTING,
    MOST_AT_ONCE,
    MOST_UNTAKEN,
    EventJournal,
    EventKind,
    EventLevel,
    JournalEvent,
)
from tests.admin.consoles import NOW
from tests.support.processes import ROOT

DOWN, UP = "origin.down http://a", "origin.up http://a"


def seen(key: str, at: float = 0.0, ends: str = "", *, lasts: bool = False) -> JournalEvent:
    cause, _, subject = (key or ends).partition(" ")
    ended, sentence = ends.partition(" ")[0], f"about {key}" if key else ""
    return JournalEvent(
        0, cause, subject, ended, "origin", "bad", sentence, None, NOW + at, NOW + at, lasts
    )


def test_an_outage_is_one_event_with_its_duration_though_two_processes_saw_it() -> None:
    record = EventRecord()
    record.add([seen("", 0.5, DOWN), seen(DOWN, 0, lasts=True)])  # an end is taken after its begin
    assert [event.lasted for event in record.after(0)] == [0.5]
    record = EventRecord()
    record.add([seen(DOWN, 0, lasts=True), seen(DOWN, 1, lasts=True)])
    (goes_on,) = record.after(0)
    assert (goes_on.lasts, goes_on.lasted) == (True, None)
    record.add([seen("", 5, DOWN), seen("", 6, DOWN)])
    (event,) = record.after(goes_on.sequence)
    assert (event.id, event.lasts, event.lasted, event.count) == (goes_on.id, False, 5.0, 1)


def test_the_same_within_a_minute_is_one_event_with_a_count() -> None:
    record = EventRecord()
    for second in (0, 59, 118, 179):
        record.add([seen("purge.widened /a", second)])
    assert [(event.at - NOW, event.count) for event in record.after(0)] == [(0, 3), (179, 1)]


def test_a_flood_of_one_name_becomes_one_event_after_a_hundred() -> None:
    record = EventRecord()
    record.add(seen(f"admin.changed {number}") for number in range(MOST_OF_A_NAME))
    assert len(record.after(0)) == MOST_OF_A_NAME
    record.add(seen(f"admin.changed more {number}", 1) for number in range(1000))
    events = record.after(0)
    assert (len(events), events[-1].count) == (MOST_OF_A_NAME + 1, 1000)


def test_the_oldest_events_are_dropped_at_their_bound() -> None:
    record = EventRecord(most=3)
    for number in range(4):
        record.add([seen(f"{number}", number * 100)])
    assert [event.cause for event in record.after(0)] == ["1", "2", "3"]


def test_events_of_another_gateway_are_taken_once_and_follow_its_changes() -> None:
    there, here = EventRecord(), EventRecord()
    there.add([seen(DOWN, lasts=True)])
    for _ in range(2):
        here.add_shared("other", there.shared(NOW))
    there.add([seen("", 4, DOWN)])
    for _ in range(2):
        here.add_shared("other", there.shared(NOW))
    (event,) = here.after(0)
    assert (event.gateway, event.lasted, event.sequence) == ("other", 4.0, 2)
    assert here.shared(NOW) == ()


def test_an_event_of_another_gateway_stays_one_when_its_beginning_is_corrected() -> None:
    there, here = EventRecord(), EventRecord()
    there.add([seen(DOWN, lasts=True)])
    here.add_shared("other", there.shared(NOW))
    for at, ended_at in ((NEAR_S, 30), (NEAR_S - 1, 30)):  # too far to be the same, and near
        measured = seen(DOWN, at)
        times = {"last_at": NOW + ended_at, "ended_at": NOW + ended_at}
        there.end(msgspec.structs.replace(measured, **times), "it was down")
        here.add_shared("other", there.shared(NOW))
    (event,) = here.after(0)
    assert (event.at, event.lasted, event.lasts) == (NOW + NEAR_S - 1, 31 - NEAR_S, False)


def test_a_record_forgets_which_events_of_others_it_had_before_their_bound() -> None:
    there, here = EventRecord(), EventRecord(most=2)
    for number in range(6):
        there.add([seen(f"{number}")])
        here.add_shared("other", there.after(number))
    assert [event.cause for event in here.after(0)] == ["4", "5"]
    assert len(here._of_peers) <= 2 * 2 + 1


def test_what_goes_on_at_a_gateway_that_is_gone_has_no_known_end() -> None:
    there, here = EventRecord(), EventRecord()
    there.add([seen(DOWN, lasts=True)])
    here.add_shared("other", there.shared(NOW))
    here.keep_gateways({"other"})
    assert here.after(0)[0].lasts
    here.keep_gateways(set())
    assert [(it.lasts, it.ended_at) for it in here.after(0)] == [(False, None)]
    here.add_shared("other", there.shared(NOW))  # it was only unreachable
    assert here.after(0)[0].lasts


def test_events_are_shared_for_minutes_and_the_newest_ones_alone() -> None:
    record = EventRecord()
    record.add(seen(f"{number}", number) for number in range(MOST_SHARED + 1))
    shared = record.shared(NOW + MOST_SHARED)
    assert [event.cause for event in shared] == [f"{it}" for it in range(1, MOST_SHARED + 1)]
    assert record.shared(NOW + MOST_SHARED + SHARED_FOR_S) == ()


def test_a_query_chooses_by_each_condition_and_says_when_it_is_cut() -> None:
    record = EventRecord()
    record.add([seen("a"), seen("b", 200), seen("c", 400)])
    assert [it.cause for it in record.select(EventQuery(text="ABOUT B")).events] == ["b"]
    assert [it.cause for it in record.select(EventQuery(since=NOW + 200)).events] == ["b", "c"]
    assert record.select(EventQuery(kind="worker")).events == ()
    assert record.select(EventQuery(route="/x")).events == ()
    cut = record.select(EventQuery(limit=2))
    assert ([it.cause for it in cut.events], cut.last, cut.is_cut) == (["b", "c"], 3, True)


def test_the_events_of_a_stream_are_those_that_name_it_and_those_of_its_whole_route() -> None:
    def about(cause: str, route: str | None, stream: str | None, words: str = "") -> JournalEvent:
        event = msgspec.structs.replace(seen(cause), route=route, stream=stream)
        return msgspec.structs.replace(event, sentence=words or event.sentence)

    record = EventRecord()
    record.add(
        [
            about("its own", "/r", "chat/1"),
            about("another stream", "/r", "chat/10"),
            about("another route", "/s", "chat/1"),
            about("the whole route", "/r", None),
            about("deletion below a prefix", "/r", "chat/*"),
            about("deletion below another", "/r", "chats/*"),
            about("server", None, None),
            about("alert", None, None, "/r/chat/1 grows by 9 MB a minute"),
            about("alert of another", None, None, "/r/chat/10 grows by 9 MB a minute"),
        ]
    )
    found = record.select(EventQuery(route="/r", stream="chat/1")).events
    wanted = ["its", "the", "deletion", "alert"]
    assert [event.cause for event in found] == wanted


def test_hours_count_the_events_that_began_in_them_by_level() -> None:
    record = EventRecord()
    hour = NOW // 3600 * 3600
    moments = (hour - 23 * 3600, hour - 23 * 3600 - 1, hour - 1, hour, hour + 5)
    record.add([seen(f"{at}", at - NOW) for at in moments])
    good = msgspec.structs.replace(seen("good"), level="good", kind="server")
    record.add([good])
    hours = record.hours(EventQuery(), hour + 5)
    assert [at - hour for at in hours] == [-3600 * ago for ago in reversed(range(24))]
    counted = {at - hour: dict(counts) for at, counts in hours.items() if counts}
    assert counted == {-23 * 3600: {"bad": 1}, -3600: {"bad": 1}, 0: {"bad": 2, "good": 1}}
    assert sum(it.total() for it in record.hours(EventQuery(kind="server"), NOW).values()) == 1


def test_a_journal_sends_events_until_they_are_acknowledged() -> None:
    journal = EventJournal()
    for _ in range(3):
        journal.note("origin.down", {"server": "http://a", "reason": "x", "client": "203.0.113.9"})
    (first,) = journal.events_after(0).events
    assert (first.count, first.sentence, first.lasts) == (3, "http://a went down: x", True)
    journal.note("origin.down", {"server": "http://a", "reason": "x"})
    assert journal.events_after(0).events == (first,)
    (second,) = journal.events_after(first.sequence).events
    assert (second.count, second.subject) == (1, first.subject)
    assert journal.events_after(second.sequence).events == ()


@pytest.mark.parametrize(
    ("begins", "ends", "reason", "over"),
    [
        pytest.param(
            *("origin.down", "origin.up", "cannot be connected to: Connection refused"),
            "http://a/is went down: could not be connected to: Connection refused",
            id="refused",
        ),
        pytest.param(
            *("origin.down", "origin.up", "has a certificate for another host name"),
            "http://a/is went down: had a certificate for another host name",
            id="certificate",
        ),
        pytest.param(
            *("origin.failing", "origin.not_failing", "has answered nothing but 5xx for 14 s"),
            "http://a/is had answered nothing but 5xx for 14 s",
            id="failing",
        ),
        pytest.param(
            *("log.failed", "log.recovered", "the log cannot be written: the disk is full"),
            "the log at http://a/is failed: the log could not be written: the disk was full",
            id="full",
        ),
    ],
)
def test_an_event_that_has_ended_is_in_the_past_tense_with_its_reason(
    begins: str, ends: str, reason: str, over: str
) -> None:
    journal, record = EventJournal(), EventRecord()
    journal.note(begins, {"server": "http://a/is", "reason": reason})
    record.add(journal.events_after(0).events)
    (event,) = record.after(0)
    assert event.sentence.endswith(reason)
    journal.note(ends, {"server": "http://a/is"})
    record.add(journal.events_after(1).events)
    (event,) = record.after(0)
    assert (event.sentence, event.lasts) == (over, False)


def test_a_journal_drops_the_oldest_events_that_nobody_takes_and_counts_them() -> None:
    journal = EventJournal()
    for number in range(MOST_UNTAKEN + 2):
        journal.note("origin.down", {"server": f"http://{number}"})
    assert journal.dropped == 2
    first = journal.events_after(0).events
    assert (len(first), first[0].subject) == (MOST_AT_ONCE, "http://2")


def test_each_rule_is_of_a_line_that_the_code_logs_and_has_no_address_of_a_client() -> None:
    sources = [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "admin").rglob("*.py")]
    code = "".join(path.read_text() for path in sources if path.name != "event_journal.py")
    assert [name for name in EVENT_RULES if f'"{name}"' not in code] == []
    assert EVENT_RULES.keys() >= LASTING
    fields = {
        field
        for rule in EVENT_RULES.values()
        for field in (*rule.about, *(name for _, name, _, _ in Formatter().parse(rule.sentence)))
    }
    assert fields.isdisjoint({"client", "address", "target", "path"})


def test_the_command_offers_each_kind_and_level() -> None:
    assert (get_args(EventKind), get_args(EventLevel)) == (KINDS, LEVELS)
