"""The charts of a stream while its page is open, and the sums of a route's streams."""

from __future__ import annotations

import pytest

from headgate_admin.model.kinds import POINTS
from headgate_admin.record.history import FEWEST_POINTS, FINEST_S
from headgate_admin.streams.histories import MOST_STREAMS, StreamHistories
from headgate_gateway.features.questions.streams import StreamDescription, StreamPage, StreamRow
from headgate_gateway.telemetry.metrics import Sample, gauge
from tests.admin.consoles import Switchboard, console

ROUTE, BEGAN = "/v1/stream", 1_700_000_000.0


def row(size: int, rate: float = 1.0, stream_id: str = "1", name: str = "a") -> StreamRow:
    return StreamRow(name=name, size=size, rate=rate, stream_id=stream_id)


def test_charts_of_a_stream_begin_when_it_was_looked_at_first() -> None:
    histories = StreamHistories()
    drawn = histories.add(ROUTE, row(10), BEGAN)
    assert drawn.since == BEGAN
    nothing = (None,) * (FEWEST_POINTS - 1)
    assert drawn.size.lines[0].values == (*nothing, 10)
    assert drawn.size.start == BEGAN - (FEWEST_POINTS - 1) * FINEST_S
    histories.add(ROUTE, row(20), BEGAN + 1)
    drawn = histories.add(ROUTE, row(30, 2.5), BEGAN + FINEST_S)
    assert drawn.size.lines[0].values[-2:] == (20, 30)
    assert drawn.rate.lines[0].values[-2:] == (1.0, 2.5)
    assert drawn.since == BEGAN


def test_charts_have_a_gap_while_nobody_looks_and_forget_what_is_older_than_their_span() -> None:
    histories = StreamHistories()
    histories.add(ROUTE, row(10), BEGAN)
    later = BEGAN + (POINTS - 1) * FINEST_S
    drawn = histories.add(ROUTE, row(40), later)
    assert drawn.size.lines[0].values == (10, *[None] * (POINTS - 2), 40)
    drawn = histories.add(ROUTE, row(50), later + FINEST_S)
    assert (drawn.since, len(drawn.size.lines[0].values)) == (later, FEWEST_POINTS)


def test_another_stream_at_the_same_name_has_charts_of_its_own() -> None:
    histories = StreamHistories()
    histories.add(ROUTE, row(10), BEGAN)
    drawn = histories.add(ROUTE, row(1, stream_id="2"), BEGAN + FINEST_S)
    assert drawn.since == BEGAN + FINEST_S


def test_a_clock_that_is_set_back_drops_what_is_yet_to_come() -> None:
    histories = StreamHistories()
    histories.add(ROUTE, row(10), BEGAN + 3600)
    assert histories.add(ROUTE, row(20), BEGAN).since == BEGAN


def test_charts_are_kept_of_the_streams_that_were_looked_at_last() -> None:
    histories = StreamHistories()
    for number in range(MOST_STREAMS):
        histories.add(ROUTE, row(1, name=f"{number}"), BEGAN)
    later = BEGAN + FINEST_S
    assert histories.add(ROUTE, row(1, name="0"), later).since == BEGAN
    histories.add(ROUTE, row(1, name="new"), later)
    assert histories.add(ROUTE, row(1, name="0"), later).since == BEGAN
    assert histories.add(ROUTE, row(1, name="1"), later).since == later


@pytest.mark.parametrize("is_copied", [False, True], ids=["stored-here", "at-an-origin"])
async def test_the_page_of_a_stream_says_since_when_its_charts_are_drawn(is_copied: bool) -> None:
    described = StreamDescription(StreamRow(name="a", is_copied=is_copied), {})
    async with console(Switchboard(answers=lambda _: (described,))) as client:
        page = await client.page(f"/streams/one?route={ROUTE}&name=a&tab=readers")
    assert ('aria-label="Size of the stream"' in page) is not is_copied
    assert ("Drawn while this page is open, since" in page) is not is_copied


async def test_the_sums_of_a_route_stand_with_its_streams() -> None:
    stored = gauge("headgate_storage_streams", "h", "route")
    numbers = (Sample(stored, (ROUTE,), 12_345),)
    rows = (StreamRow(name="a", growth=5_000, last_append_at=1.0),)
    switchboard = Switchboard(numbers=numbers, answers=lambda _: (StreamPage(rows),))
    async with console(switchboard) as client:
        await client.look()
        page = await client.page("/streams")
        _, told = await client.api("GET", f"streams?route={ROUTE}")
    assert "<dt>Streams</dt><dd>12,345</dd>" in page
    assert 'data-head="Grows/h">5 kB</td>' in page
    assert told["sums"]["streams"] == 12_345
    assert (told["rows"][0]["growth"], told["rows"][0]["last_append_at"]) == (5_000, 1.0)
