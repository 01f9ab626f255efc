"""What is rendered of views in memory: bounded, and the same bytes again when it was dropped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.views.rendering import GROUP_BYTES, RenderingStore
from headgate_gateway.features.views.route_views import RouteViews
from headgate_gateway.protocol.streams.state import Record, StreamState
from tests.models.answers import chat_completion, message
from tests.support.serving import get, offset, post, serving
from tests.support.waiting import until
from tests.views.reading import (
    EVENTS,
    VIEWS,
    close,
    follow,
    rendered,
    summed,
    to_the_end,
    view_events,
    written,
)

if TYPE_CHECKING:
    from tests.support.serving import Serving

WORDS = [f"word {number:03d} of many. " * 3 for number in range(100)]


def store_of(gateway: Serving, max_bytes: int) -> RenderingStore:
    """Return the memory of a route's views, with this bound from now on."""
    views = gateway.route.features["views"].loaded()
    assert isinstance(views, RouteViews)
    views.store.max_bytes = max_bytes
    return views.store


def numbers(gateway: Serving) -> dict[str, float]:
    """Return the numbers of the memory as metrics tell them."""
    return {
        sample.metric.name.removeprefix("headgate_views_"): sample.number
        for sample in gateway.route.samples()
        if sample.metric.name in {"headgate_views_memory_bytes", "headgate_views_dropped_total"}
    }


def filled(store: RenderingStore, stream_id: int, count: int) -> int:
    """Render so many events of a stream and give the rendering back; return its size."""
    state = StreamState("s", stream_id, 0, EVENTS, tail=count * 16)
    rendering = store.acquire("text", state)
    data = [b"data: x\n\n" for _ in range(count)]
    records = [Record((number + 1) * 9, one) for number, one in enumerate(data)]
    for _ in rendering.steps(records, state):
        pass
    store.release(rendering)
    return rendering.size


@pytest.mark.parametrize(("spare", "left"), [(-1, 1), (0, 2), (1, 2)])
def test_a_rendering_without_readers_is_dropped_by_the_byte_that_is_one_too_many(
    spare: int, left: int
) -> None:
    store = RenderingStore()
    size = filled(store, 1, 3)
    store.max_bytes = 2 * size + spare
    filled(store, 2, 3)
    assert (len(store), store.bytes, store.dropped) == (left, left * size, 2 - left)
    store.forget(1)
    store.forget(2)
    assert (len(store), store.bytes) == (0, 0)


@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_that_is_over_the_bound_reaches_its_readers_with_equal_bytes(
    view: str,
) -> None:
    records = chat_completion(WORDS)
    async with serving() as gateway:
        store = store_of(gateway, 6000)
        await written(gateway, records, closed=False)
        clients = [await follow(gateway, f"s?view={view}") for _ in range(3)]
        await close(gateway)
        whole = rendered(view, records)
        if view != "text":
            assert {await to_the_end(client) for client in clients} == {whole}
        else:
            for client in clients:
                assert await client.event_bytes_until(whole[-12:]) == whole
        found = numbers(gateway)
        assert found["memory_bytes"] == store.bytes <= 6000
        assert found["dropped_total"] == store.dropped > 0


async def test_a_reader_that_comes_behind_the_bound_goes_on_from_any_offset() -> None:
    records = message(WORDS)
    async with serving() as gateway:
        store_of(gateway, 6000)
        await written(gateway, records)
        events = view_events(rendered("ai-sdk", records))
        for number in range(0, len(events), 17):
            at = next(one.id for one in events[number:] if one.id)
            client = await follow(gateway, f"s?view=ai-sdk&offset={at}")
            place = next(place for place, one in enumerate(events) if one.id == at)
            assert view_events(await to_the_end(client)) == events[place + 1 :]


async def test_a_slow_reader_gets_all_of_a_view_whose_beginning_had_to_make_room() -> None:
    records = chat_completion([f"{number} {'x' * 4000}" for number in range(300)])
    async with serving() as gateway:
        store_of(gateway, 50_000)
        await written(gateway, records[:10], closed=False)
        slow = await follow(gateway, "s?view=ai-sdk")
        slow.pause()
        fast = await follow(gateway, "s?view=ai-sdk")
        for record in records[10:]:
            await gateway.ask(post("s", record, content_type=EVENTS))
        await close(gateway)
        whole = summed(rendered("ai-sdk", records))
        assert summed(await to_the_end(fast)) == whole
        slow.resume()
        assert summed(await to_the_end(slow)) == whole


async def test_what_was_rendered_serves_later_readers_and_goes_on_where_it_ended() -> None:
    records = chat_completion()
    async with serving() as gateway:
        store = store_of(gateway, 1 << 20)
        await written(gateway, records[:4], closed=False)
        first = await follow(gateway, "s?view=ai-sdk")
        await first.event_bytes_until(rendered("ai-sdk", records[:4], closed=False)[-12:])
        first.abort()
        await until(lambda: gateway.route.feeds.count == 0)
        for record in records[4:]:
            await gateway.ask(post("s", record, content_type=EVENTS))
        await close(gateway)
        second = await gateway.ask(get("s?view=ai-sdk"))
        assert second.body == rendered("ai-sdk", records)
        assert store.started["ai-sdk"] == 1


async def test_what_was_rendered_of_a_deleted_stream_is_not_sent_of_the_next_at_its_path() -> None:
    async with serving() as gateway:
        store = store_of(gateway, 1 << 20)
        await written(gateway, [b"data: old\n\n"])
        assert b"old" in (await gateway.ask(get("s?view=sse"))).body
        assert len(store) == 1
        await gateway.ask(b"DELETE /v1/stream/s HTTP/1.1\r\nHost: headgate.test\r\n\r\n")
        assert (len(store), store.bytes) == (0, 0)
        await written(gateway, [b"data: new\n\n"])
        events = view_events((await gateway.ask(get("s?view=sse"))).body)
        assert events[0].data == "new"
        old = await gateway.ask(get(f"s?view=sse&offset={offset(5)}"))
        assert old.status == 410


async def test_equal_readers_of_a_closed_view_share_one_rendering() -> None:
    records = chat_completion(WORDS)
    async with serving() as gateway:
        store = store_of(gateway, 1 << 20)
        await written(gateway, records)
        answers = await asyncio.gather(*(gateway.ask(get("s?view=ag-ui")) for _ in range(50)))
        [body] = {answer.body for answer in answers}
        assert summed(body) == summed(rendered("ag-ui", records))
        assert store.started["ag-ui"] == 1


def test_the_bytes_of_a_group_count_with_what_python_adds() -> None:
    store = RenderingStore()
    state = StreamState("s", 1, 0, "text/plain", tail=3)
    rendering = store.acquire("text", state)
    before = store.bytes
    for _ in rendering.steps([Record(3, b"abc")], state):
        pass
    assert store.bytes - before == GROUP_BYTES + 3


@pytest.mark.parametrize(("spare", "is_kept"), [(-1, False), (0, True), (1, True)])
def test_a_rendering_with_readers_makes_room_for_the_byte_that_is_one_too_many(
    spare: int, is_kept: bool
) -> None:
    store = RenderingStore(2 * (GROUP_BYTES + 1) + spare)
    state = StreamState("s", 1, 0, "text/plain", tail=2)
    rendering = store.acquire("text", state)
    for _ in rendering.steps([Record(1, b"a"), Record(2, b"b")], state):
        pass
    assert (rendering.has(offset(0)), store.dropped) == (is_kept, int(not is_kept))
    piece = rendering.piece(offset(0))
    assert (b"" if piece is None else piece.rendered) == (b"ab" if is_kept else b"")
    assert rendering.end == offset(2)
    store.release(rendering)
