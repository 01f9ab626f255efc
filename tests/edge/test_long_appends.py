"""News of an origin that are too long for one turn of the loop."""

from __future__ import annotations

import json

import pytest

from gateway.edge.followed.comparison import LONGEST_COUNTED, MOST_COUNTED
from gateway.live.source import LONGEST_ROUND
from tests.edge.live_readers import confirmed, following, live, news, polling, told, up_to

JSON = "application/json"


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_news_around_the_longest_round_arrive_once_and_in_order(more: int) -> None:
    """Over LONGEST_ROUND everybody leaves the round for them, and comes back for what follows."""
    long = b"x" * (LONGEST_ROUND + more)
    async with live(b"a") as (origin, gateway):
        viewers = [await following(gateway, "0000") for _ in range(2)]
        poll = await polling(gateway, "0001")
        for viewer in viewers:
            assert await up_to(viewer, "0001") == "a"
        asked = len(origin.catch_ups)
        await origin.polled(1)
        origin.append(long)
        assert news(await poll.answer()) == (200, long, "0002", "true")
        await origin.polled(2)
        origin.append(b"b")
        for viewer in viewers:
            assert await up_to(viewer, "0003") == f"a{long.decode()}b"
        assert len(origin.catch_ups) == asked  # it was told of all this already


@pytest.mark.parametrize(
    "piece",
    [
        b",".join([b"1"] * (MOST_COUNTED + 2)),
        b'"%b"' % (b"x" * LONGEST_COUNTED),
        b'"%b"' % (b"x" * LONGEST_ROUND),
        b",".join([b'"xx"'] * LONGEST_ROUND),
    ],
    ids=[
        "more messages than are counted",
        "a message too long to count",
        "a message longer than a round",
        "as many messages as a round has bytes",
    ],
)
async def test_long_json_arrives_once_and_later_polls_are_answered(piece: bytes) -> None:
    async with live(b"0", content_type=JSON) as (origin, gateway):
        viewer = await following(gateway, "0001")
        poll = await polling(gateway, "0001")
        await origin.polled(1)
        origin.append(piece)
        whole = b"[%b]" % piece
        assert news(await poll.answer()) == (200, whole, "0002", "true")
        assert await up_to(viewer, "0002") == whole.decode()
        await confirmed(gateway, "0002")
        next_poll = await polling(gateway, "0002")
        origin.append(b'"next"')
        assert news(await next_poll.answer()) == (200, b'["next"]', "0003", "true")
        assert await up_to(viewer, "0003") == f'{whole.decode()}["next"]'
        late = await following(gateway, "0001")
        events = await late.events_until(told("0003", upToDate=True))  # type: ignore[arg-type] # a predicate
        pieces = [json.loads(event.data) for event in events if event.name == "data"]
        assert [item for piece in pieces for item in piece] == [*json.loads(whole), "next"]


async def test_a_poll_gets_the_first_of_two_long_pieces() -> None:
    """What waits for a round may be many answers of the origin."""
    long = b"x" * (LONGEST_ROUND - 10)
    async with live(b"a") as (origin, gateway):
        poll = await polling(gateway, "0001")
        viewer = await following(gateway, "0001")
        await origin.polled(1)
        origin.append(long)
        await origin.polled(2)
        origin.append(long)
        got = await poll.answer()
        assert (got.status, got.body[:1], got.get("Stream-Next-Offset")) == (200, b"x", "0002")
        assert await up_to(viewer, "0003") == 2 * long.decode()
