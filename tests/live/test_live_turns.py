"""Readers are told of a round in parts: what comes, and who leaves, between two of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.live import feed, live_turns
from tests.live.test_feed import follow, text, up_to
from tests.support.serving import Serving, get, offset, post, put, request, serving_with
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.live.live_turns import LiveTurns
    from tests.support.event_stream import Event
    from tests.support.http1 import Client

READERS = 48  # a turn outlasts some appends, also where the machine is busy
LONG = b"x" * 20_000


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_turns, "AT_ONCE", 1)
    # Else a round waits for longer than a turn where the machine has held up the one before.
    monkeypatch.setattr(feed, "LONGEST_PAUSE_S", 0.0)


@asynccontextmanager
async def living() -> AsyncIterator[tuple[Serving, list[Client], Client]]:
    """Serve readers who wait at the tail of an empty stream, and connect a writer."""
    async with serving_with(put("s")) as gateway:
        readers = [await follow(gateway, "s?offset=now&live=sse") for _ in range(READERS)]
        for reader in readers:
            await up_to(reader, 0)
        yield gateway, readers, await gateway.connect()


def in_a_row(*data: bytes) -> bytes:
    """Appends that are there when the one before is answered, and with something between: apart."""
    return request("HEAD", "s").join(post("s", one) for one in data)


def pieces(events: list[Event]) -> int:
    return [event.name for event in events].count("data")


def turns_of(gateway: Serving) -> LiveTurns:  # type: ignore[type-arg] # of whatever stream
    (feed,) = gateway.route.feeds._feeds
    return feed.sse_readers.turns


async def test_an_append_is_answered_before_all_readers_got_the_append_before_it() -> None:
    async with living() as (_, readers, writer):
        writer.send(in_a_row(b"one", b"two", b"three"))
        events = [await up_to(reader, 11) for reader in readers]
        assert {text(one) for one in events} == {"onetwothree"}
        assert pieces(events[-1]) == 1, "its turn comes when all three are answered"


async def test_readers_later_in_a_turn_get_two_appends_as_one_event() -> None:
    async with living() as (gateway, readers, writer):
        writer.send(in_a_row(b"one", b"two"))
        events = [await up_to(reader, 6) for reader in readers]
        assert text(events[0]) == text(events[-1]) == "onetwo"
        assert (pieces(events[0]), pieces(events[-1])) == (2, 1)
        turns = turns_of(gateway)
        await until(lambda: not turns._turn)
        live = gateway.route.traffic.live
        assert READERS < live.sse.deliveries < 2 * READERS
        assert sum(live.delays.counts) == live.sse.deliveries
        assert live.collapsed.sum == live.sse.deliveries


async def test_a_round_that_every_reader_got_is_not_kept() -> None:
    async with living() as (gateway, readers, _):
        await gateway.ask(post("s", b"one"))
        for reader in readers:
            await up_to(reader, 3)
        turns = turns_of(gateway)
        await until(lambda: not turns._turn)
        assert turns._rounds == []


async def test_readers_that_lack_too_many_rounds_by_their_turn_catch_up_from_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headgate_gateway.streams.feeds.LONGEST_ROUND", 3 * len(LONG) - 1)
    async with living() as (gateway, readers, writer):
        most = 0
        for _ in range(12):
            writer.send(post("s", LONG))
            await writer.answer()
            most = max(most, len(turns_of(gateway)._rounds))
        for reader in readers:
            assert text(await up_to(reader, 12 * len(LONG))) == 12 * LONG.decode()
        assert most <= 6  # three that may be told, and what comes between two parts


async def test_a_stream_deleted_during_a_turn_still_sends_its_last_data_to_the_rest() -> None:
    async with living() as (gateway, readers, writer):
        writer.send(post("s", b"last") + request("DELETE", "s"))
        for reader in readers:
            assert text(await reader.events_to_the_end()) == "last"
        await until(lambda: gateway.limits.live_readers == 0)


async def test_closing_a_stream_ends_each_sse_response_with_the_last_data() -> None:
    async with living() as (gateway, readers, _):
        await gateway.ask(post("s", b"last", "Stream-Closed: true"))
        for reader in readers:
            assert text(await reader.events_to_the_end()) == "last"


async def test_readers_that_come_and_go_during_a_turn_get_all_data_once() -> None:
    async with living() as (gateway, readers, writer):
        whole = ""
        for number in range(20):
            writer.send(post("s", b"%02d" % number))
            await writer.answer()
            whole += f"{number:02}"
            if number % 5 == 0:
                readers.pop(0).close()
                newcomer = await gateway.connect()
                newcomer.send(get(f"s?offset={offset(0)}&live=sse"))
                assert (await newcomer.answer()).status == 200
                readers.append(newcomer)
        for reader in readers:
            assert text(await up_to(reader, len(whole))) == whole
