"""No reader is told that it is up to date by an answer that is older than others' newest data.

The others have another identity, and so a feed and fetches of their own.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.followed import evidence
from headgate_gateway.edge.followed.evidence import NewestData
from tests.edge.live_readers import S, at, confirmed, following, live, news, up_to, viewed, waiting
from tests.support.raw_origin import Wire, answer
from tests.support.serving import Serving, get
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.rules.cached_response import StreamKey
    from tests.support.event_stream import Event
    from tests.support.live_origin import LiveOrigin

HIS = "Authorization: Bearer a"
TEXT = "Content-Type: text/plain"
DOWN = answer(b"", status="503 Service Unavailable")


def anonymous(gateway: Serving) -> FollowedStream:
    (stream,) = [one for one in gateway.edge.feeds.table if not one.requests.current.identified]
    return stream


def is_up_to_date(events: list[Event]) -> bool:
    return "upToDate" in json.loads(events[-1].data)


async def read_by_another(origin: LiveOrigin, gateway: Serving) -> None:
    """Append what a reader with a token reads, while the poll for everybody hangs."""
    origin.pieces.append(b"b")
    gateway.clock.advance(2)
    got = await gateway.ask(get(f"{S}?offset=-1", HIS))
    assert news(got) == (200, b"ab", "0002", "true")


async def test_an_sse_reader_whose_poll_hangs_is_not_up_to_date_once_another_has_newer_data() -> (
    None
):
    async with viewed(b"a", sse_max_age=1.5) as (origin, gateway, viewer):
        assert await up_to(viewer, "0001") == ""
        await read_by_another(origin, gateway)
        assert not is_up_to_date(await viewer.events_to_the_end())


@pytest.mark.usefixtures("quick_retries")
async def test_an_sse_reader_is_not_up_to_date_in_an_outage_once_another_feed_has_newer_data() -> (
    None
):
    async with viewed(b"a", sse_max_age=2.0) as (origin, gateway, viewer):
        assert await up_to(viewer, "0001") == ""
        his = await following(gateway, "0001", HIS)
        await until(lambda: len(origin.polls) == 2)

        async def fails_for_all_but_him(wire: Wire) -> None:
            if HIS in wire.heard.fields:
                origin.instead = DOWN
                news_of_his = "Stream-Next-Offset: 0002", "Stream-Up-To-Date: true"
                await wire.send(answer(b"b", TEXT, *news_of_his, "Stream-Cursor: 7"))
            else:
                await wire.send(DOWN)

        origin.answer_all(fails_for_all_but_him)
        assert await up_to(his, "0002") == "b"
        assert not is_up_to_date(await viewer.events_to_the_end())


async def test_a_fresh_answer_of_its_own_identity_restores_that_a_feed_is_up_to_date() -> None:
    async with viewed(b"a") as (origin, gateway, viewer):
        assert await up_to(viewer, "0001") == ""
        await read_by_another(origin, gateway)
        assert not anonymous(gateway).feed.caught_up
        origin.pieces.pop()  # of the anonymous stream, which may be another one
        got = await gateway.ask(get(f"{S}?offset=0001"))
        assert news(got) == (200, b"", "0001", "true")
        events = await viewer.events_until(lambda events: len(events) == 2)
        assert is_up_to_date(events)
        assert news(await gateway.ask(get(f"{S}?offset=0001"))) == (200, b"", "0001", "true")
        assert len(origin.polls) == 1, "its poll hangs still"


async def test_a_poll_that_the_origin_holds_restores_that_a_feed_is_up_to_date() -> None:
    async with viewed(b"a") as (origin, gateway, viewer):
        assert await up_to(viewer, "0001") == ""
        await read_by_another(origin, gateway)
        origin.pieces.pop()
        origin.tell()  # that poll was sent before
        await origin.polled(2)
        await until(lambda: anonymous(gateway).feed.caught_up)
        assert is_up_to_date(await viewer.events_until(lambda events: len(events) == 2))
        await confirmed(gateway)


@pytest.mark.parametrize("target", [f"{S}?offset=0001", at("0001")])
async def test_a_read_under_way_is_not_up_to_date_once_another_has_newer_data(target: str) -> None:
    async with live(b"a", long_poll_timeout=0.1) as (origin, gateway):
        go = asyncio.Event()

        async def answers_late(wire: Wire) -> None:
            origin.instead = None
            await go.wait()
            lines = "Stream-Next-Offset: 0001", "Stream-Up-To-Date: true"
            await wire.send(answer(b"", TEXT, *lines, "Cache-Control: max-age=60"))

        origin.instead = answers_late
        reader = await gateway.connect()
        reader.send(get(f"{S}?offset=0001"))
        await until(lambda: origin.instead is None)
        await read_by_another(origin, gateway)
        go.set()
        assert news(await reader.answer()) == (200, b"", "0001", None)
        assert news(await gateway.ask(get(target))) == (200, b"b", "0002", "true")


async def test_a_copy_at_the_old_tail_is_not_served_once_another_has_newer_data() -> None:
    async with live(b"a") as (origin, gateway):
        origin.says = ["Cache-Control: max-age=60"]
        assert news(await gateway.ask(get(f"{S}?offset=-1"))) == (200, b"a", "0001", "true")
        await read_by_another(origin, gateway)
        assert news(await gateway.ask(get(f"{S}?offset=-1"))) == (200, b"ab", "0002", "true")


async def test_feeds_that_get_the_same_data_are_up_to_date_with_it_at_once() -> None:
    async with live(b"a") as (origin, gateway):
        viewers = [await following(gateway, "0001", *lines) for lines in ((), (HIS,))]
        for viewer in viewers:
            assert await up_to(viewer, "0001") == ""
        await until(lambda: origin.waiting == 2)
        for number in range(2, 7):
            origin.append(b"x")
            for viewer in viewers:
                assert len(await up_to(viewer, f"{number:04}")) == number - 1
            events = [await viewer.events_until(bool) for viewer in viewers]
            assert [sum(one.name == "control" for one in some) for some in events] == [number] * 2
            await until(lambda: origin.waiting == 2)


async def test_polls_of_others_wait_on_while_their_feed_is_overtaken() -> None:
    async with waiting(b"a") as (origin, gateway, waiter):
        await read_by_another(origin, gateway)
        assert gateway.limits.live_readers == 1
        origin.tell()
        assert news(await waiter.answer()) == (200, b"b", "0002", "true")


KEY: StreamKey = ("h", "/s", (), "")
OTHER: StreamKey = ("h", "/s", (), "somebody")


def test_the_moments_of_as_many_urls_as_the_bound_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MAX_URLS", 2)
    newest = NewestData()
    assert newest.note(OTHER, "0002")
    assert not newest.is_newest(KEY, "0001", 0)
    assert newest.is_newest(KEY, "0002", 0)
    assert newest.is_newest(OTHER, "0001", 0), "its own data are judged by its own feed"
    assert newest.note(("h", "/t", (), ""), "1")
    assert not newest.note(OTHER, "0002")
    assert not newest.is_newest(KEY, "0001", 0)
    assert newest.note(("h", "/u", (), ""), "1")
    assert newest.is_newest(KEY, "0001", 0), "the oldest is forgotten"
