"""Reads with `view=compact` and `batch_ms`: what they return, cache, share and refuse."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.features.compact.folded_reader import folded_reader_of
from gateway.features.console.inspected_streams import streams_of
from gateway.protocol.streams.chunks import FOLDED_BYTES
from gateway.store import ENTRY_OVERHEAD
from tests.live.test_feed import follow, is_told
from tests.support.serving import Serving, get, offset, post, put, request, serving, serving_with
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.event_stream import Event
    from tests.support.http1 import Answer

JSON = "application/json"


def deltas(text: str, part: str = "t") -> bytes:
    """Return a delta of a UI message for each character, as an array."""
    return json.dumps([{"type": "text-delta", "id": part, "delta": it} for it in text]).encode()


async def append(gateway: Serving, text: str, part: str = "t") -> None:
    answer = await gateway.ask(post("s", deltas(text, part), content_type=JSON))
    assert answer.status == 204


async def read(gateway: Serving, query: str = "offset=-1&view=compact", *lines: str) -> Answer:
    return await gateway.ask(get(f"s?{query}", *lines))


def texts(body: bytes) -> list[str]:
    return [event["delta"] for event in json.loads(body)]


def created(text: str = "") -> bytes:
    """Return the creation of a stream with a delta for each character."""
    return put("s", body=deltas(text), content_type=JSON)


async def test_a_compact_read_joins_deltas_and_ends_at_the_same_offset_as_a_plain_one() -> None:
    async with serving_with(created("abc")) as gateway:
        await append(gateway, "de")
        await append(gateway, "f", "other")
        plain, compact = await read(gateway, "offset=-1"), await read(gateway)
        assert texts(plain.body) == list("abcdef")
        assert texts(compact.body) == ["abcde", "f"]
        for name in ("Stream-Next-Offset", "Stream-Up-To-Date", "Content-Type", "Cache-Control"):
            assert compact.get(name) == plain.get(name)
        assert compact.get("ETag") != plain.get("ETag")


async def test_a_reader_continues_after_a_compact_read_with_the_deltas_as_they_come() -> None:
    async with serving_with(created("abc")) as gateway:
        end = (await read(gateway)).get("Stream-Next-Offset")
        await append(gateway, "de")
        assert texts((await read(gateway, f"offset={end}")).body) == ["d", "e"]
        assert texts((await read(gateway, f"offset={end}&view=compact")).body) == ["de"]


async def test_the_etag_of_a_compact_read_holds_until_the_next_append() -> None:
    async with serving_with(created("abc")) as gateway:
        first = await read(gateway)
        tag = first.get("ETag")
        assert (
            await read(gateway, "offset=-1&view=compact", f"If-None-Match: {tag}")
        ).status == 304
        await append(gateway, "d")
        again = await read(gateway, "offset=-1&view=compact", f"If-None-Match: {tag}")
        assert (again.status, texts(again.body)) == (200, ["abcd"])


async def test_whole_compact_chunks_are_immutable_and_end_where_the_next_begins() -> None:
    async with serving_with(created()) as gateway:
        for _ in range(60):
            await append(gateway, "x" * 300, "a part with a long name" * 10)
        position, text, ages, sizes = offset(0), "", [], []
        while True:
            chunk = await read(gateway, f"offset={position}&view=compact")
            text += "".join(texts(chunk.body))
            ages.append("max-age=86400" in (chunk.get("Cache-Control") or ""))
            sizes.append(len(chunk.body))
            position = chunk.get("Stream-Next-Offset") or ""
            if chunk.get("Stream-Up-To-Date"):
                break
        assert text == "x" * 300 * 60
        assert ages == [True] * (len(ages) - 1) + [False]
        assert len(ages) > 3
        assert max(sizes) < FOLDED_BYTES / 30


async def test_a_compact_read_of_a_closed_stream_is_immutable() -> None:
    async with serving_with(created("ab")) as gateway:
        await gateway.ask(request("POST", "s", "Stream-Closed: true"))
        compact = await read(gateway, f"offset={offset(0)}&view=compact")
        assert (texts(compact.body), compact.get("Stream-Closed")) == (["ab"], "true")
        assert "max-age=86400" in (compact.get("Cache-Control") or "")


async def test_equal_compact_reads_are_folded_once_and_cached_apart_from_plain_ones() -> None:
    async with serving_with(created("abc")) as gateway:
        await asyncio.gather(*(read(gateway) for _ in range(20)))
        assert folded_reader_of(gateway.route).started_folds == 1
        assert (await read(gateway)).get("Cache-Status") == "Headgate; hit"
        assert "hit" not in ((await read(gateway, "offset=-1")).get("Cache-Status") or "")


async def test_a_complete_part_of_the_log_is_folded_once_while_the_stream_grows() -> None:
    async with serving_with(created()) as gateway:
        for _ in range(5):
            await append(gateway, "x" * 1500)  # the first chunk of the log is complete
        for count in range(1, 4):
            await append(gateway, "y")
            assert "".join(texts((await read(gateway)).body)).count("y") == count
        assert folded_reader_of(gateway.route).started_folds == 1 + 3


async def test_parts_that_no_longer_fit_into_memory_are_folded_again() -> None:
    async with serving() as gateway:
        folded = folded_reader_of(gateway.route)
        folded.parts.resize(ENTRY_OVERHEAD)
        await gateway.ask(created("abc"))
        for query in ("offset=-1", f"offset={offset(0)}"):
            assert texts((await read(gateway, f"{query}&view=compact")).body) == ["abc"]
        assert (folded.started_folds, folded.parts.bytes) == (2, 0)


async def test_a_stream_that_is_deleted_and_created_again_shows_nothing_of_the_first() -> None:
    async with serving_with(created("abc")) as gateway:
        await read(gateway)
        await gateway.ask(request("DELETE", "s"))
        assert (await gateway.ask(created("xyz"))).status == 201
        assert texts((await read(gateway)).body) == ["xyz"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("view=pretty", "view must be one of raw, compact"),
        ("view=", "view must be one of raw, compact"),
        ("view=compact&view=raw", "more than once"),
        ("batch_ms=15", "batch_ms must be one of 0, 10, 20, 50, 100, 200, 500"),
        ("batch_ms=501", "batch_ms must be one of"),
        ("batch_ms=-1", "batch_ms must be one of"),
        ("batch_ms=1e2", "batch_ms must be one of"),
        ("batch_ms=99999999999999999999", "batch_ms must be one of"),
    ],
)
async def test_unknown_views_and_batches_are_refused(query: str, reason: str) -> None:
    async with serving_with(created("abc")) as gateway:
        answer = await read(gateway, f"offset=-1&{query}")
        assert answer.status == 400
        assert reason in json.loads(answer.body)["detail"]


async def test_the_raw_view_is_the_read_without_a_view() -> None:
    async with serving_with(created("abc")) as gateway:
        plain = await read(gateway, "offset=-1")
        raw = await read(gateway, "view=raw&batch_ms=0&offset=-1")
        assert (raw.body, raw.get("ETag")) == (plain.body, plain.get("ETag"))
        assert "hit" in (raw.get("Cache-Status") or "")


def has_last(character: str) -> Callable[[list[Event]], bool]:
    """Return whether the last delta has a text, and its control event has come."""
    return lambda events: live_texts(events)[-1:] == [character] and events[-1].name == "control"


def live_texts(events: list[Event]) -> list[str]:
    return [
        it["delta"] for event in events if event.name == "data" for it in json.loads(event.data)
    ]


async def test_a_compact_sse_reader_gets_the_past_joined_and_then_the_deltas_as_they_come() -> None:
    async with serving_with(created("abc")) as gateway:
        client = await follow(gateway, "s?offset=-1&live=sse&view=compact")
        events = await client.events_until(is_told(upToDate=True))  # type: ignore[arg-type] # a predicate
        assert live_texts(events) == ["abc"]
        for character in "de":
            await append(gateway, character)
            events = await client.events_until(has_last(character))
        assert live_texts(events) == ["abc", "d", "e"]


async def test_news_gathers_for_the_batch_of_its_readers_and_for_no_others() -> None:
    async with serving_with(created()) as gateway:
        plain = await follow(gateway, "s?offset=now&live=sse")
        slow = await follow(gateway, "s?offset=now&live=sse&batch_ms=500")
        for character in "abcde":
            await append(gateway, character)
            await plain.events_until(has_last(character))
        events = await slow.events_until(lambda found: "".join(live_texts(found)) == "abcde")
        assert live_texts(events) == ["abcde"]
        assert gateway.route.feeds.count == 2


async def test_the_end_of_a_stream_waits_for_no_batch() -> None:
    async with serving_with(created()) as gateway:
        slow = await follow(gateway, "s?offset=now&live=sse&batch_ms=500")
        await append(gateway, "ab")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await gateway.ask(request("POST", "s", "Stream-Closed: true"))
        events = await slow.events_until(is_told(streamClosed=True))  # type: ignore[arg-type] # a predicate
        assert live_texts(events) == ["ab"]
        assert loop.time() - began < 0.4


async def test_a_long_poll_with_a_batch_gets_the_deltas_of_that_time_joined() -> None:
    async with serving_with(created()) as gateway:
        clients = [await gateway.connect() for _ in range(3)]
        for client in clients:
            client.send(get(f"s?offset={offset(0)}&live=long-poll&batch_ms=200"))
        await until(lambda: gateway.limits.live_readers == 3)
        for character in "abc":
            await append(gateway, character)
        answers = [await client.answer() for client in clients]
        assert [texts(answer.body) for answer in answers] == [["abc"]] * 3


async def test_the_readers_of_every_view_are_counted_and_listed() -> None:
    async with serving_with(created("a")) as gateway:
        for query in ("", "&view=compact", "&batch_ms=100"):
            await follow(gateway, f"s?offset=now&live=sse{query}")
        described = await streams_of(gateway.route).describe("s")
        assert described.readers_by_mode == {"sse": 3, "long-poll": 0}
        assert described.row.readers == 3
        feeds = list(streams_of(gateway.route).live_feeds())
        assert [place.name for place in feeds] == ["s"] * 3


def long_run() -> list[dict[str, Any]]:
    """Return a run of the size of one that was reported: 38,043 events, most of them deltas."""
    events: list[dict[str, Any]] = []
    for step in range(190):
        events.append({"type": "start-step"})
        for kind, id_ in (("reasoning", f"rs_{step:048x}"), ("text", f"msg_{step:048x}")):
            events.append({"type": f"{kind}-start", "id": id_})
            deltas = (f" {kind[0]}ö{number}" for number in range(98))
            events += ({"type": f"{kind}-delta", "id": id_, "delta": it} for it in deltas)
            events.append({"type": f"{kind}-end", "id": id_})
        events.append({"type": "finish-step"})
    return events


def said(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("delta", "") for event in events)


async def all_of(gateway: Serving, view: str) -> tuple[list[dict[str, Any]], int]:
    """Return the events of a stream in a view, and the bytes of the responses that have them."""
    events, size, position, is_at_tail = [], 0, "-1", False
    while not is_at_tail:
        chunk = await read(gateway, f"offset={position}&view={view}")
        events += json.loads(chunk.body)
        size += len(chunk.body)
        position = chunk.get("Stream-Next-Offset") or ""
        is_at_tail = chunk.get("Stream-Up-To-Date") == "true"
    return events, size


async def test_a_reload_at_nine_tenths_of_a_long_run_reads_few_events_and_bytes() -> None:
    run = long_run()
    so_far = run[: len(run) * 9 // 10]
    async with serving_with(created()) as gateway:
        for begin in range(0, len(so_far), 500):
            body = json.dumps(so_far[begin : begin + 500], ensure_ascii=False).encode()
            await gateway.ask(post("s", body, content_type=JSON))
        plain, plain_size = await all_of(gateway, "raw")
        compact, compact_size = await all_of(gateway, "compact")
    assert len(run) > 38_000
    assert said(compact) == said(plain) == said(so_far)
    assert len(compact) <= 0.06 * len(plain)
    assert compact_size <= 0.1 * plain_size
