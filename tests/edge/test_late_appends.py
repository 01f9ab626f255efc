"""News that come late or in two halves, and polls that come again before they were read for."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import OriginBroken
from headgate_gateway.live.contract import PollAnswer, ReaderClient
from headgate_gateway.live.long_polls import AT_ONCE
from headgate_gateway.protocol.requests import LongPoll
from headgate_gateway.protocol.responses import UP_TO_DATE_LINE
from headgate_gateway.protocol.streams.offsets import TailBound
from tests.edge.live_readers import S, at, confirmed, following, live, news, up_to, viewed
from tests.support.raw_origin import Wire, answer
from tests.support.serving import Serving, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.http1 import Client
    from tests.support.live_origin import LiveOrigin

TEXT = "Content-Type: text/plain"


async def test_viewers_get_up_to_date_after_a_later_poll_confirms_the_tail() -> None:
    """Data whose answer does not say that they reach the tail, and then nothing more."""
    async with viewed(b"a") as (origin, _, viewer):
        assert await up_to(viewer, "0001") == ""

        async def tell_half(wire: Wire) -> None:
            origin.instead = None
            origin.pieces.append(b"b")
            await wire.send(answer(b"b", TEXT, "Stream-Next-Offset: 0002", "Stream-Cursor: 7"))

        origin.answer_all(tell_half)
        await origin.polled(2)  # that one waits at 0002
        origin.tell()
        assert await up_to(viewer, "0002") == "b"


async def test_an_append_known_only_from_the_offset_of_a_204_reaches_all_readers() -> None:
    """Its 204 says where the tail is by then, behind what nobody has been told."""
    async with live(b"a") as (origin, gateway):
        viewer = await following(gateway, "0001")
        assert await up_to(viewer, "0001") == ""
        poller = await gateway.connect()
        poller.send(get(at("0001")))
        await origin.polled(1)

        async def tell_tail_alone(wire: Wire) -> None:
            origin.instead = None
            origin.pieces.append(b"b")
            lines = "Stream-Next-Offset: 0002", "Stream-Up-To-Date: true"
            await wire.send(answer(b"", *lines, status="204 No Content"))

        origin.answer_all(tell_tail_alone)
        assert news(await poller.answer()) == (200, b"b", "0002", "true")
        assert await up_to(viewer, "0002") == "b"
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"ab"


@pytest.mark.parametrize("target", [f"{S}?offset=0001", at("0001")])
@pytest.mark.parametrize("is_told_of_all", [False, True])
async def test_a_response_is_up_to_date_only_with_every_append_acknowledged_meanwhile(
    target: str, is_told_of_all: bool
) -> None:
    async with live(b"a") as (origin, gateway):
        go = asyncio.Event()

        async def tell_late(wire: Wire) -> None:
            origin.instead = None
            await go.wait()
            await wire.send(
                answer(b"b", TEXT, "Stream-Next-Offset: 0002", "Stream-Up-To-Date: true")
            )

        origin.instead = tell_late
        reader = await gateway.connect()
        reader.send(get(target))
        await until(lambda: origin.instead is None)
        for piece in (b"b",) if is_told_of_all else (b"b", b"c"):
            origin.pieces.append(piece)
            assert (await gateway.ask(request("POST", S, body=piece))).status == 204
        go.set()
        up_to_date = "true" if is_told_of_all else None
        assert news(await reader.answer()) == (200, b"b", "0002", up_to_date)


class Waiting:
    """Who waits in a feed, as a connection does whose client polls again and again."""

    principal = None
    client = ReaderClient(1, "", None, None)

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.is_up_to_date = False

    def answer(self, answer: PollAnswer) -> None:
        self.statuses.append(answer.response.status)
        self.is_up_to_date = UP_TO_DATE_LINE in answer.response.fields

    def abandon(self) -> None:
        raise AssertionError("there is an answer")


async def test_a_poll_repeated_during_its_catch_up_gets_a_new_catch_up() -> None:
    async with live(b"a", b"b") as (origin, gateway):
        await following(gateway, "0002")
        await origin.polled(1)
        (stream,) = gateway.edge.feeds.table.by_key.values()
        poll = gateway.edge.parse(f"{S}?offset=0001&live=long-poll")
        assert isinstance(poll, LongPoll)
        go = asyncio.Event()

        async def tell_late(wire: Wire) -> None:
            await go.wait()
            await wire.send(answer(b"b", TEXT, "Stream-Next-Offset: 0002"))

        origin.instead = tell_late
        waiter = Waiting()
        gateway.edge.feeds.join(stream).long_polls.park(waiter, poll, "0001")
        await until(lambda: f"{S}?offset=0001" in origin.catch_ups)
        stream.feed.suspend(OriginBroken("for a moment"))
        assert waiter.statuses == [502]
        gateway.edge.feeds.join(stream).long_polls.park(waiter, poll, "0001")
        go.set()
        await until(lambda: len(waiter.statuses) == 2)
        assert waiter.statuses == [502, 200]


ANYBODY, TOLD_ID = "X-Fast: 1", "X-Request-Id:a"  # a read without a task, and one with


async def following_in_vain(origin: LiveOrigin, gateway: Serving) -> Client:
    """A viewer up to date at 0001, whose poll will hang, whatever is appended."""
    viewer = await following(gateway, "0001")
    assert await up_to(viewer, "0001") == ""
    await origin.polled(1)
    await confirmed(gateway)
    return viewer


@pytest.mark.parametrize("line", [ANYBODY, TOLD_ID])
@pytest.mark.parametrize("from_", ["-1", "0000", "now"])
async def test_no_reader_is_up_to_date_without_data_that_a_read_returned_while_the_poll_hangs(
    from_: str, line: str
) -> None:
    async with live(b"a", long_poll_timeout=0.1) as (origin, gateway):
        viewer = await following_in_vain(origin, gateway)
        origin.pieces.append(b"b")
        gateway.clock.advance(2)
        first = await gateway.ask(get(f"{S}?offset={from_}", line))
        shown = b"" if from_ == "now" else b"ab"
        assert news(first) == (200, shown, "0002", "true")
        for target in (f"{S}?offset=0001", at("0001")):
            assert news(await gateway.ask(get(target, line))) == (200, b"b", "0002", "true")
        joins = await following(gateway, "now")
        origin.tell()
        assert await up_to(joins, "0002") == ""
        assert await up_to(viewer, "0002") == "b"
        await origin.polled(2)
        await confirmed(gateway, "0002")


async def test_a_read_that_shows_the_closure_closes_the_stream_for_all_readers() -> None:
    async with live(b"a") as (origin, gateway):
        viewer = await following_in_vain(origin, gateway)
        origin.closed_stream = True
        gateway.clock.advance(2)
        for offset in ("-1", "0001"):
            got = await gateway.ask(get(f"{S}?offset={offset}"))
            assert (got.status, got.get("Stream-Closed")) == (200, "true")
        origin.tell()
        events = await viewer.events_to_the_end()
        assert json.loads(events[-1].data)["streamClosed"] is True


async def test_data_read_with_a_cookie_are_not_expected_of_the_stream_of_other_readers() -> None:
    """With another cookie another stream may be there."""
    async with live(b"a") as (origin, gateway):
        await following_in_vain(origin, gateway)
        origin.says = ["Cache-Control: no-store"]
        origin.pieces.append(b"b")
        gateway.clock.advance(2)
        his = await gateway.ask(get(f"{S}?offset=-1", "Cookie: a"))
        assert news(his) == (200, b"ab", "0002", "true")
        origin.pieces.pop()
        got = await gateway.ask(get(f"{S}?offset=0001"))
        assert (news(got), got.get("X-Cache")) == ((200, b"", "0001", "true"), "MISS")


async def test_an_invented_offset_does_not_change_the_expected_tail() -> None:
    """An origin may take any offset past the tail for the tail, and say it again."""
    async with live(b"a") as (origin, gateway):
        await following_in_vain(origin, gateway)
        origin.instead = answer(b"", TEXT, "Stream-Next-Offset: 0009", "Stream-Up-To-Date: true")
        assert (await gateway.ask(get(f"{S}?offset=0009"))).status == 200
        origin.instead = None
        got = await gateway.ask(get(f"{S}?offset=0001"))
        assert (news(got), got.get("X-Cache")) == ((200, b"", "0001", "true"), "COLLAPSED")


async def test_equal_reads_while_the_poll_hangs_cost_one_origin_request() -> None:
    async with live(b"a") as (origin, gateway):
        await following_in_vain(origin, gateway)
        origin.pieces.append(b"b")
        assert (await gateway.ask(get(f"{S}?offset=now"))).status == 200
        asked = len(origin.catch_ups)
        for target in (f"{S}?offset=0001", f"{S}?offset=0002"):
            for _ in range(20):
                assert (await gateway.ask(get(target))).get("Stream-Next-Offset") == "0002"
        assert len(origin.catch_ups) == asked + 2


async def test_a_poll_from_now_is_up_to_date_only_with_appends_acknowledged_before_it() -> None:
    """The origin has told of the first one, and its answer comes after the second was made."""
    async with live(b"a") as (origin, gateway):
        poller = await gateway.connect()
        poller.send(get(at("now")))
        await origin.polled(1)
        go = asyncio.Event()

        async def tell_late(wire: Wire) -> None:
            await go.wait()
            origin.instead = None
            lines = "Stream-Next-Offset: 0002", "Stream-Up-To-Date: true", "Stream-Cursor: 7"
            await wire.send(answer(b"b", TEXT, *lines))

        origin.answer_all(tell_late)
        await until(lambda: origin.waiting == 0)
        writer = await gateway.connect()
        origin.instead = None
        for piece in (b"b", b"c"):
            origin.pieces.append(piece)
            assert (await writer.ask(request("POST", S, body=piece))).status == 204
        go.set()
        assert news(await poller.answer()) == (200, b"b", "0002", None)
        assert news(await poller.ask(get(at("0002")))) == (200, b"c", "0003", "true")


async def test_a_poll_from_now_that_times_out_is_up_to_date_at_the_newest_offset() -> None:
    async with live(b"a", long_poll_timeout=0.1) as (origin, gateway):
        await following_in_vain(origin, gateway)
        origin.pieces.append(b"b")
        assert (await gateway.ask(request("POST", S, body=b"b"))).status == 204
        assert news(await gateway.ask(get(at("now")))) == (204, b"", "0002", "true")
        assert news(await gateway.ask(get(at("0001")))) == (200, b"b", "0002", "true")


async def test_a_poll_answered_from_the_cache_is_up_to_date_like_a_catch_up_read() -> None:
    async with live(b"a") as (_, gateway):
        for target in (f"{S}?offset=-1", f"{S}?offset=-1", at("-1")):
            assert news(await gateway.ask(get(target))) == (200, b"a", "0001", "true")


class Author(Waiting):
    """One in a herd who is answered, and appends before all of them are."""

    def __init__(self, appends: Callable[[], object]) -> None:
        super().__init__()
        self.appends = appends

    def answer(self, answer: PollAnswer) -> None:
        super().answer(answer)
        self.appends()


async def test_polls_of_a_herd_answered_after_an_append_are_not_up_to_date_without_it() -> None:
    async with live(b"a", max_live_readers=1000) as (origin, gateway):
        await following(gateway, "0001")
        await origin.polled(1)
        (stream,) = gateway.edge.feeds.table.by_key.values()
        poll = gateway.edge.parse(at("0001"))
        assert isinstance(poll, LongPoll)
        herd = [Waiting() for _ in range(AT_ONCE - 1)]
        herd.append(Author(lambda: gateway.edge.feeds.writes.on_write(S, TailBound("0003"))))
        herd += [Waiting() for _ in range(9)]
        for waiter in herd:
            gateway.edge.feeds.join(stream).long_polls.park(waiter, poll, "0001")
        origin.append(b"b")
        await until(lambda: all(waiter.statuses for waiter in herd))
        told = [waiter.is_up_to_date for waiter in herd]
        assert told == [True] * AT_ONCE + [False] * 9


async def test_repeated_reads_at_now_do_not_count_as_another_stream() -> None:
    """`now` is another place each time."""
    async with live(b"a") as (origin, gateway):
        viewer = await following(gateway, "0001")
        for number, piece in enumerate((b"b", b"c", b"d"), start=1):
            await origin.polled(number)
            assert (await gateway.ask(get(f"{S}?offset=now"))).status == 200
            origin.append(piece)
            await up_to(viewer, f"{number + 1:04}")
        assert (await gateway.ask(get(f"{S}?offset=now"))).status == 200
        got = await gateway.ask(get(f"{S}?offset=0002"))
        assert news(got) == (200, b"cd", "0004", "true")
        assert gateway.limits.live_readers == 1
        assert news(await gateway.ask(get(at("0002")))) == (200, b"cd", "0004", "true")
