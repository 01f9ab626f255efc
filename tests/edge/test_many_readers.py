"""What many readers of one stream cost its origin, counted, and what makes their requests equal."""

from __future__ import annotations

import statistics
import time
from collections import Counter

import pytest

from tests.edge.live_readers import S, at, live
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, put
from tests.support.waiting import until

READERS = 200
PIECES, SIZE = 5, 10_000


async def test_two_hundred_readers_of_a_stream_cost_its_origin_a_hundredth_of_their_requests() -> (
    None
):
    """Each reads the history piece by piece, and then waits for news."""
    pieces = [b"%d" % number * SIZE for number in range(PIECES)]
    async with live(*pieces, max_connections=READERS, max_live_readers=READERS) as (
        origin,
        gateway,
    ):
        origin.longest = 1
        # The gateway learns first that this origin says which answers reach the tail, so that
        # history is cached as history.
        await gateway.ask(get(f"{S}?offset={PIECES:04}"))
        origin.catch_ups.clear()
        clients = [await gateway.connect() for _ in range(READERS)]
        found: Counter[str | None] = Counter()
        received = 0
        for client in clients:
            for number, piece in enumerate(pieces):
                got = await client.ask(get(f"{S}?offset={number:04}"))
                assert got.body == piece
                found[got.get("X-Cache")] += 1
                received += len(got.body)
        assert len(origin.catch_ups) == len(set(origin.catch_ups)) == PIECES
        for client in clients:
            client.send(get(at(f"{PIECES:04}")))
        await until(lambda: gateway.limits.live_readers == READERS)
        await origin.polled(1)
        origin.append(b"news")
        for client in clients:
            got = await client.answer()
            assert got.body == b"news"
            found[got.get("X-Cache")] += 1
        asked = len(origin.catch_ups) + len(origin.polls)
        sent = len(origin.catch_ups) * SIZE  # of history; each piece was sent once
        assert asked <= found.total() / 100, (origin.catch_ups, origin.polls)
        assert sent <= received / 100
        assert (found["HIT"] + found["COLLAPSED"]) / found.total() >= 0.95, found


async def test_polls_with_one_offset_and_one_cursor_are_one_request_to_the_origin() -> None:
    async with live(b"a") as (origin, gateway):
        clients = [await gateway.connect() for _ in range(5)]
        for client in clients:
            client.send(get(at("0001", "long-poll", "cursor=4000000")))
        await until(lambda: gateway.limits.live_readers == 5)
        await origin.polled(1)
        origin.append(b"b")
        answers = [await client.answer() for client in clients]
        assert {answer.body for answer in answers} == {b"b"}
        assert len({answer.get("Stream-Cursor") for answer in answers}) == 1
        await origin.polled(2)
        assert [poll.partition("offset=")[2] for poll in origin.polls] == ["0001", "0002"]


@pytest.mark.parametrize("of_stream", [[], ["Stream-Next-Offset: 9"]], ids=["other", "stream"])
@pytest.mark.parametrize(
    ("queries", "in_order"),
    [
        (("offset=5&b=2&cursor=1", "cursor=1&offset=5&b=2"), "b=2&cursor=1&offset=5"),
        (("offset=5&b=2&a=1", "b=2&offset=5&a=1"), "a=1&b=2&offset=5"),
    ],
    ids=["cursor", "usual"],
)
async def test_reads_with_their_parameters_in_any_order_are_one_request_with_sorted_ones(
    queries: tuple[str, str], in_order: str, of_stream: list[str]
) -> None:
    fields = ("Cache-Control: max-age=60", "Content-Type: text/markdown; charset=utf-8", *of_stream)
    async with RawOrigin(answer(b"data", *fields)) as origin, edge_serving(origin) as gateway:
        for number, query in enumerate(queries):
            got = await gateway.ask(get(f"{EDGE}/s?{query}"))
            assert (got.body, got.get("X-Cache")) == (b"data", ("MISS", "HIT")[number])
            assert got.get("Content-Type") == "text/markdown; charset=utf-8"
        assert origin.lines() == [f"GET {EDGE}/s?{in_order}"]


async def test_the_copy_of_a_read_tells_its_hits_and_the_seconds_since_it_was_fetched() -> None:
    async with (
        RawOrigin(answer(b"data", "Cache-Control: max-age=60")) as origin,
        edge_serving(origin) as gateway,
    ):
        found = []
        for _ in range(4):
            got = await gateway.ask(get(f"{EDGE}/s"))
            found.append([got.get(name) for name in ("X-Cache", "X-Cache-Hits", "Age")])
            gateway.clock.advance(15)
        assert found == [
            ["MISS", "0", "0"],
            *(["HIT", str(hits), str(15 * hits)] for hits in (1, 2, 3)),
        ]


@pytest.mark.parametrize("target", [f"{EDGE}/s", "s?offset=-1"], ids=["origin", "log"])
async def test_a_hit_is_answered_within_ten_milliseconds(target: str) -> None:
    async with (
        RawOrigin(answer(b"x" * 65_536, "Cache-Control: max-age=60")) as origin,
        edge_serving(origin) as gateway,
    ):
        await gateway.ask(put("s", body=b"x" * 65_536))
        client = await gateway.connect()
        await client.ask(get(target))
        took_s = []
        for _ in range(51):
            began = time.perf_counter()
            got = await client.ask(get(target))
            took_s.append(time.perf_counter() - began)
            assert got.get("X-Cache") == "HIT"
        assert statistics.median(took_s) < 0.01  # half of them: a busy machine delays some


async def test_a_read_at_an_origin_is_confirmed_by_its_tag_without_a_body_until_it_closes() -> None:
    told = ("Content-Type: text/plain", "Stream-Next-Offset: 9", "Stream-Up-To-Date: true")
    tag_of_origin = 'ETag: "9"'  # the same of the open stream and of the closed one
    is_open = answer(b"data", *told, tag_of_origin)
    is_closed = answer(b"data", *told, tag_of_origin, "Stream-Closed: true")
    async with (
        RawOrigin(is_open, is_open, is_closed) as origin,
        edge_serving(origin) as gateway,
        edge_serving(origin) as other,  # without a copy
    ):
        read = f"{EDGE}/s?offset=5"
        tag = (await gateway.ask(get(read))).get("ETag") or ""
        again = get(read, f"If-None-Match: {tag}")
        for one in (other, gateway, gateway, gateway):
            same = await one.ask(again)
            assert (same.status, same.get("ETag"), same.body) == (304, tag, b"")
            assert len(same.wire) < 1000
        gateway.clock.advance(2)
        closed = await gateway.ask(again)
        assert (closed.status, closed.body, closed.get("Stream-Closed")) == (200, b"data", "true")
        assert closed.get("ETag") not in {None, tag}
