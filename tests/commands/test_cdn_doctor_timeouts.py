"""What has not come in time is late only if what is asked for later comes before it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from gateway.commands.cdn_doctor.patience import given_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.commands.cdn_doctor.streams import OwnStream

SOON_S = 0.01


class SlowStream:
    """A stream whose reads take until an event, perhaps, has overtaken them."""

    start = "-1"

    def __init__(self, *, event_is_first: bool) -> None:
        self.event = asyncio.Event()
        self.reads: list[Mapping[str, str]] = []
        self._event_is_first = event_is_first

    async def read(self, query: Mapping[str, str]) -> None:
        self.reads.append(query)
        if self._event_is_first:
            self.event.set()
            await asyncio.sleep(0)  # it is there, and then the read's answer


async def test_an_event_in_time_costs_the_doctor_no_read() -> None:
    stream = SlowStream(event_is_first=True)
    stream.event.set()
    assert await given_time(stream.event.wait(), cast("OwnStream", stream), 10.0)
    assert stream.reads == []


async def test_an_event_that_arrives_before_a_later_read_is_not_late() -> None:
    stream = SlowStream(event_is_first=True)
    assert await given_time(stream.event.wait(), cast("OwnStream", stream), SOON_S)
    assert stream.reads == [{"offset": "-1"}]


async def test_an_event_overtaken_by_a_later_read_times_out_and_is_cancelled() -> None:
    stream = SlowStream(event_is_first=False)
    cancelled = asyncio.Event()

    async def event() -> None:
        try:
            await stream.event.wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        await given_time(event(), cast("OwnStream", stream), SOON_S)
    assert cancelled.is_set()
    assert len(stream.reads) == 1


async def test_an_event_that_fails_while_awaited_raises_its_error() -> None:
    async def event() -> None:
        raise ConnectionResetError("cut")

    with pytest.raises(ConnectionResetError, match="cut"):
        await given_time(event(), cast("OwnStream", SlowStream(event_is_first=True)), SOON_S)
