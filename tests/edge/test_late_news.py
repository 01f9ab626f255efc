"""News that come in two halves, and polls that come again before they have been read for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import OriginBroken
from gateway.protocol.requests import LongPoll
from tests.edge.live_readers import S, at, following, live, news, up_to
from tests.support.raw_origin import Wire, answer
from tests.support.waiting import until
from tests.web.serving import get, request

if TYPE_CHECKING:
    from gateway.live.contract import PollAnswer

TEXT = "Content-Type: text/plain"


async def test_viewers_hear_of_the_tail_that_a_later_poll_confirms() -> None:
    """Data whose answer does not say that they reach the tail, and then nothing more."""
    async with live(b"a") as (origin, gateway):
        viewer = await following(gateway, "0001")
        assert await up_to(viewer, "0001") == ""
        await origin.polled(1)

        async def tell_half(wire: Wire) -> None:
            origin.instead = None
            origin.pieces.append(b"b")
            await wire.send(answer(b"b", TEXT, "Stream-Next-Offset: 0002", "Stream-Cursor: 7"))

        origin.instead = tell_half
        origin.tell()
        await origin.polled(2)  # that one waits at 0002
        origin.tell()
        assert await up_to(viewer, "0002") == "b"


async def test_what_was_appended_as_the_origin_ended_its_wait_reaches_everybody() -> None:
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

        origin.instead = tell_tail_alone
        origin.tell()
        assert news(await poller.answer()) == (200, b"b", "0002", "true")
        assert await up_to(viewer, "0002") == "b"
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"ab"


@pytest.mark.parametrize("target", [f"{S}?offset=0001", at("0001")])
@pytest.mark.parametrize("is_told_of_all", [False, True])
async def test_what_has_an_append_that_was_made_while_it_was_asked_for_is_up_to_date(
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

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def answer(self, answer: PollAnswer) -> None:
        self.statuses.append(answer.response.status)

    def abandon(self) -> None:
        raise AssertionError("there is an answer")


async def test_a_poll_that_comes_again_while_it_is_read_for_is_read_for_again() -> None:
    async with live(b"a", b"b") as (origin, gateway):
        await following(gateway, "0002")
        await origin.polled(1)
        (stream,) = gateway.edge.feeds._streams.values()
        poll = gateway.edge.parse(f"{S}?offset=0001&live=long-poll")
        assert isinstance(poll, LongPoll)
        go = asyncio.Event()

        async def tell_late(wire: Wire) -> None:
            await go.wait()
            await wire.send(answer(b"b", TEXT, "Stream-Next-Offset: 0002"))

        origin.instead = tell_late
        waiter = Waiting()
        gateway.edge.feeds.join(stream).park(waiter, poll, "0001")
        await until(lambda: f"{S}?offset=0001" in origin.catch_ups)
        stream.feed.lose(OriginBroken("for a moment"))
        assert waiter.statuses == [502]
        gateway.edge.feeds.join(stream).park(waiter, poll, "0001")
        go.set()
        await until(lambda: len(waiter.statuses) == 2)
        assert waiter.statuses == [502, 200]
