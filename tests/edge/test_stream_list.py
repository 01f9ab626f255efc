"""The streams of an origin that the dashboard can list: those that this process knows of."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_gateway.features.questions.contract import AnswerFailure
from headgate_gateway.features.questions.streams import (
    DescribeStream,
    ListStreams,
    StreamDescription,
    StreamPage,
)
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, Serving, edge_serving, get
from tests.support.waiting import until

KEPT = answer(
    b"x", "Content-Type: text/plain", "Stream-Next-Offset: 1", "Cache-Control: max-age=60"
)


async def page(gateway: Serving, **asked: object) -> StreamPage:
    told = await gateway.inspector.answer(ListStreams(EDGE, **asked))  # type: ignore[arg-type] # checked there
    assert isinstance(told, StreamPage), told
    return told


async def description(gateway: Serving, name: str) -> StreamDescription:
    told = await gateway.inspector.answer(DescribeStream(EDGE, name))
    assert isinstance(told, StreamDescription), told
    return told


async def follow(gateway: Serving, name: str, readers: int = 1) -> str:
    """Let these readers wait for news of a stream; return where it ends."""
    tail = (await gateway.ask(get(f"{EDGE}/{name}?offset=-1"))).next_offset
    before = gateway.limits.live_readers
    for _ in range(readers):
        client = await gateway.connect()
        client.send(get(f"{EDGE}/{name}?offset={tail}&live=long-poll"))
    await until(lambda: gateway.limits.live_readers == before + readers)
    return tail


@settings(max_examples=20)
@given(
    names=st.sets(st.text("ab/é", min_size=1, max_size=4).filter(lambda it: it.strip("/") == it)),
    begins=st.sampled_from(["", "a", "b/", "%C3%A9", "zz"]),
    limit=st.integers(1, 4),
)
def test_listed_pages_have_every_known_stream_once(
    names: set[str], begins: str, limit: int
) -> None:
    async def run() -> None:
        async with RawOrigin(KEPT) as origin, edge_serving(origin) as gateway:
            asked = {quote(name) for name in names if "//" not in name}
            for name in asked:
                assert (await gateway.ask(get(f"{EDGE}/{name}?offset=-1"))).status == 200
            found: list[str] = []
            after: str | None = ""
            while after is not None:
                told = await page(gateway, name_prefix=begins, after=after, limit=limit)
                assert len(told.rows) <= limit
                assert told.known_only
                found += [row.name for row in told.rows]
                after = told.after
            assert found == sorted(name for name in asked if name.startswith(begins))

    uvloop.run(run())


@pytest.mark.parametrize("order", ["name", "readers"])
async def test_a_prefix_filter_matches_in_every_spelling(order: str) -> None:
    async with LiveOrigin(b"one") as origin, edge_serving(origin) as gateway:
        name = "b%C3%A9"
        await follow(gateway, name)
        for begins in ("bé", "b%c3", "%62", "b%"):
            told = await page(gateway, name_prefix=begins, order=order)
            assert [row.name for row in told.rows] == [name], begins


@pytest.mark.parametrize("order", ["name", "readers"])
async def test_a_search_finds_known_streams_whose_names_fit(order: str) -> None:
    async with LiveOrigin(b"one") as origin, edge_serving(origin) as gateway:
        for name in ("a/events", "b/events", "b/%C3%A9"):
            await follow(gateway, name)
        for search, found in (
            ({"contains": "/e"}, ["a/events", "b/events"]),
            ({"glob": "b/?"}, ["b/%C3%A9"]),
            ({"name_prefix": "b", "contains": "events"}, ["b/events"]),
        ):
            told = await page(gateway, **search, order=order)
            assert [row.name for row in told.rows] == found


async def test_streams_are_listed_with_the_most_readers_first() -> None:
    async with LiveOrigin(b"one") as origin, edge_serving(origin) as gateway:
        await follow(gateway, "few")
        await follow(gateway, "many", 3)
        first = await page(gateway, order="readers", limit=1)
        second = await page(gateway, order="readers", limit=1, after=first.after)
        told = [(row.name, row.readers) for row in (*first.rows, *second.rows)]
        assert told == [("many", 3), ("few", 1)]
        assert second.after is None


async def test_a_followed_stream_is_described_with_its_readers() -> None:
    async with LiveOrigin(b"one") as origin, edge_serving(origin) as gateway:
        tail = await follow(gateway, "s")
        events = await gateway.connect()
        events.send(get(f"{EDGE}/s?offset={tail}&live=sse"))
        await events.head()
        await until(lambda: gateway.limits.live_readers == 2)
        told = await description(gateway, "s")
        assert told.readers_by_mode == {"sse": 1, "long-poll": 1}
        assert told.row.content_type == "text/plain"
        assert told.row.tail == tail


async def test_a_stream_without_a_feed_is_described_by_its_cached_responses() -> None:
    async with RawOrigin(KEPT) as origin, edge_serving(origin) as gateway:
        await gateway.ask(get(f"{EDGE}/s?offset=-1"))
        told = await description(gateway, "s")
        assert told.row.content_type == "text/plain"
        assert told.metadata == {
            "followed": "no: nobody waits for news of it",
            "cached answers": "1, 1 bytes",
        }


@pytest.mark.parametrize(
    ("question", "status"),
    [
        pytest.param(DescribeStream(EDGE, "unknown"), 404, id="an-unknown-stream"),
        pytest.param(ListStreams(EDGE, order="size"), 501, id="an-unsupported-order"),
        pytest.param(ListStreams(EDGE, order="readers", after="x"), 400, id="a-malformed-position"),
        pytest.param(ListStreams(EDGE, order="readers", after="9" * 5000), 400, id="a-long-one"),
        pytest.param(ListStreams("/no/route"), 404, id="an-unknown-route"),
    ],
)
async def test_an_unanswerable_inspection_question_gets_an_error_status(
    question: DescribeStream | ListStreams, status: int
) -> None:
    async with RawOrigin(KEPT) as origin, edge_serving(origin) as gateway:
        told = await gateway.inspector.answer(question)
        assert isinstance(told, AnswerFailure)
        assert told.status == status
