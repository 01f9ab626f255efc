"""What becomes of appends is counted: by result, in bytes, messages and seconds, and by rate."""

from __future__ import annotations

import asyncio
from itertools import accumulate
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.errors import HeadgateError, LogUnavailable
from headgate_gateway.protocol.requests import Append
from headgate_gateway.protocol.streams.state import Stamp
from headgate_gateway.streams.active_stream import HOUR_S, MINUTE_S, AppendActivity
from headgate_gateway.streams.outcomes import submitted
from tests.streams.service import Service, gated

JSON = "application/json"


def results(service: Service) -> dict[str, int]:
    figures = service.writes.figures
    names = ("stored", "duplicate", "refused", "failed")
    return {name: getattr(figures, name) for name in names if getattr(figures, name)}


def growth(service: Service) -> int | None:
    """Return the bytes appended to the stream s in the last hour, None without any append."""
    activity = service.table.get("s").activity
    return None if activity is None else round(activity.growth(monotonic()))


async def test_appends_are_counted_as_stored_duplicate_or_refused() -> None:
    service = Service()
    await service.create("s")
    await service.append("s", b"one", producer=Stamp("p", 0, 0))
    await service.append("s", b"two", producer=Stamp("p", 0, 1))
    await service.append("s", b"two", producer=Stamp("p", 0, 1))
    for wrong in (Stamp("p", 0, 9), Stamp("q", 0, 1)):
        assert isinstance(await service.submit("s", b"gap", producer=wrong), HeadgateError)
    assert isinstance(await service.submit("s", b"x", content_type=JSON), HeadgateError)
    assert isinstance(await service.submit("none", b"x"), HeadgateError)
    assert results(service) == {"stored": 2, "duplicate": 1, "refused": 4}
    rate = service.table.get("s").activity
    assert rate is not None
    assert round(rate.per_second(monotonic()) * MINUTE_S, 3) == 2
    assert service.writes.figures.bytes == 6
    assert service.writes.figures.messages == 2
    assert sum(service.writes.figures.duration.counts) == 7


async def test_the_activity_of_a_deleted_stream_is_not_that_of_a_later_one_at_its_path() -> None:
    service = Service()
    for body in (b"one", b"two more"):
        await service.create("s", b"created")
        assert growth(service) is None
        await service.append("s", body)
        assert growth(service) == len(body)
        await service.lifecycle.delete("s")
        assert growth(service) is None


async def test_the_activity_of_a_stream_that_another_process_replaced_is_dropped() -> None:
    here = Service()
    there = Service(here.log, here.clock)
    await here.create("s")
    await here.append("s", b"one")
    await there.lifecycle.delete("s")
    await there.create("s", b"two")
    here.table.reload("s")
    assert growth(here) == 3
    await here.table.load("s")
    assert growth(here) is None


async def test_an_append_that_the_log_cannot_store_counts_as_failed() -> None:
    service, log = await gated(max_pending_bytes=10)
    log.failures.append(LogUnavailable("the disk is full"))
    assert isinstance(await service.submit("s", b"x"), LogUnavailable)
    assert isinstance(await service.submit("s", b"x" * 11), HeadgateError)
    assert results(service) == {"failed": 2}
    assert service.writes.figures.bytes == 0


async def test_a_close_without_data_counts_as_no_append() -> None:
    service = Service()
    await service.create("s")
    await service.append("s", b"", close=True)
    await service.append("s", b"", close=True)
    assert results(service) == {}
    assert isinstance(await service.submit("s", b"late"), HeadgateError)
    assert results(service) == {"refused": 1}


@pytest.mark.parametrize(
    ("body", "messages"), [(b"[1, [2, 3], {}]", 3), (b"[1]", 1), (b'{"a": [1, 2]}', 1)]
)
async def test_each_item_of_a_json_array_counts_as_a_message(body: bytes, messages: int) -> None:
    service = Service()
    await service.create("s", content_type=JSON)
    await service.submit("s", body, content_type=JSON)
    assert service.writes.figures.messages == messages
    assert service.writes.figures.bytes == len(body)


async def test_the_duration_of_an_append_ends_when_its_outcome_is_known() -> None:
    service, log = await gated()
    loop = asyncio.get_running_loop()
    log.commits.clear()
    began = monotonic()
    append = Append(b"x", "text/plain", None, None, False)
    done: asyncio.Future[object] = loop.create_future()
    service.writes.submit("s", submitted(append, done.set_result))
    loop.call_later(0.03, log.commits.set)
    await done
    took = service.writes.figures.duration
    assert 0.02 <= took.sum <= monotonic() - began


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), max_size=30), st.floats(0, 200))
def test_an_append_rate_lies_between_this_minutes_and_the_last_two_minutes_appends(
    steps: list[tuple[float, int]], later: float
) -> None:
    rate = AppendActivity()
    moments = list(accumulate((wait for wait, _ in steps), initial=1000.0))[1:]
    for now, (_, appends) in zip(moments, steps, strict=True):
        rate.count(appends, 0, now)
    now = (moments or [1000.0])[-1] + later
    told = rate.per_second(now) * MINUTE_S
    counted = [appends for _, appends in steps]
    this_minute = sum(
        appends for at, appends in zip(moments, counted, strict=True) if at // 60 == now // 60
    )
    recent = sum(appends for at, appends in zip(moments, counted, strict=True) if at > now - 120)
    assert this_minute - 1e-6 <= told <= recent + 1e-6


def test_an_even_append_rate_is_exact_and_falls_to_zero_in_two_minutes() -> None:
    rate = AppendActivity()
    for second in range(300):
        rate.count(5, 0, 1000.0 + second)
    assert rate.per_second(1299.5) == pytest.approx(5, abs=0.1)
    assert 0 < rate.per_second(1330.0) < 5
    assert rate.per_second(1299.0 + 2 * MINUTE_S) == 0


def test_the_growth_of_a_stream_is_what_was_appended_in_the_last_hour() -> None:
    activity = AppendActivity()
    for minute in range(150):
        activity.count(1, 1000, 1000.0 + minute * MINUTE_S)
    now = 1000.0 + 150 * MINUTE_S
    assert activity.growth(now) == pytest.approx(60_000, rel=0.02)
    assert activity.last_at == 1000.0 + 149 * MINUTE_S
    assert 0 < activity.growth(now + HOUR_S) < 60_000
    assert activity.growth(now + 2 * HOUR_S) == 0
