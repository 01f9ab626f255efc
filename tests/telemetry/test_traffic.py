"""What is counted of requests in plain numbers, and what it comes to."""

from __future__ import annotations

import pytest

from gateway.live.contract import DataEvent
from gateway.live.event_round import EventRound, take_back
from gateway.protocol.requests import parse_append
from gateway.telemetry.live_traffic import LiveTraffic
from gateway.telemetry.traffic import HIT, NOWHERE, OFFSET, READ, SECONDS, START, Traffic, begins

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("offset", "kind"), [(None, START), ("-1", START), ("now", NOWHERE), ("0001", OFFSET)]
)
def test_a_read_begins_where_its_offset_says(offset: str | None, kind: int) -> None:
    assert begins(offset) == kind


def test_kept_answers_take_as_long_as_the_last_one_that_was_measured() -> None:
    traffic = Traffic()
    hits = traffic.hits(READ, START)
    for seconds in (0.0001, None, None, 0.0002, None, 1.0):
        hits.count += 1
        if seconds is not None:
            hits.measured(seconds)
    assert hits.seconds == pytest.approx(3 * 0.0001 + 2 * 0.0002 + 1.0)
    told = traffic.duration(READ)
    assert told.sum == pytest.approx(hits.seconds)
    assert (told.counts[0], told.counts[SECONDS.index(1.0)], sum(told.counts)) == (5, 1, 6)
    assert traffic.result_count(HIT) == traffic.request_count(READ, 1) == 6


def test_the_time_of_kept_answers_only_grows() -> None:
    hits, before = Traffic().hits(READ, OFFSET), 0.0
    for number in range(1, 100):
        hits.count += 1
        if number % 7 == 0:
            hits.measured(1 / number)
        assert hits.seconds >= before
        before = hits.seconds


class Reader:
    def __init__(self, cursor: int) -> None:
        self.cursor = cursor


class Position:
    def control_event(self, position: str, floor: int) -> bytes:
        return f"{position} {floor}".encode()


@pytest.mark.parametrize("floors", [[0, 0, 0], [0, 1000, 0]])
def test_a_round_counts_what_each_reader_was_written(floors: list[int]) -> None:
    events = [DataEvent(b"data", "1"), DataEvent(b"more data", "2")]
    told, traffic = EventRound(events, "2", Position()), LiveTraffic()
    for floor in dict.fromkeys(floors):
        told.render(floor)
    told.count([Reader(floor) for floor in floors], traffic, are_news=True)
    each = [len(f"data1 {floor}more data2 {floor}") for floor in floors]
    assert (traffic.event_bytes, traffic.sse.bytes) == (sum(each), sum(each))
    assert traffic.sse.deliveries == 2 * 3
    assert (sum(traffic.collapsed.counts), traffic.collapsed.sum) == (1, 3)
    take_back(told.rendered[0], "2", traffic)  # one was full after the first
    assert traffic.sse.deliveries == 2 * 3 - 1
    assert traffic.event_bytes == sum(each) - len("more data2 0")


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [(f"00-{TRACE}-00f067aa0ba902b7-01", TRACE), ("00-nonsense", None), (None, None)],
)
def test_an_append_is_part_of_the_trace_that_its_header_names(
    traceparent: str | None, trace_id: str | None
) -> None:
    headers = {"Content-Type": "text/plain"}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    assert parse_append(headers, b"x").trace_id == trace_id
