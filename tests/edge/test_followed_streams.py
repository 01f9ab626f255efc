"""Live readers of a stream that lives at an origin: one long-poll there, for all of them."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import TYPE_CHECKING
from unittest.mock import ANY

import pytest

from headgate_gateway.edge.followed import checks, followed_streams
from headgate_gateway.edge.followed.poll_loop import HOLDS_S
from headgate_gateway.protocol.streams.offsets import INTERVAL_S, TailBound
from tests.edge.live_readers import (
    NEXT_KEY,
    S,
    at,
    confirmed,
    confirmed_at_tail,
    following,
    live,
    news,
    polling,
    text,
    told,
    up_to,
    viewed,
    waiting,
)
from tests.support.raw_origin import Steps, answer, close, reset
from tests.support.serving import EDGE, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.edge.reads.http_cache import CacheResult
    from headgate_gateway.rules.cached_response import CacheRequest
    from tests.support.raw_origin import Play, Wire


async def test_readers_at_the_tail_share_one_poll() -> None:
    async with live(b"a") as (origin, gateway):
        clients = [await polling(gateway, "0001") for _ in range(3)]
        viewer = await following(gateway, "0001")
        await origin.polled(1)
        origin.append(b"b")
        for client in clients:
            got = await client.answer()
            assert news(got) == (200, b"b", "0002", "true")
            assert got.get("X-Cache") == "COLLAPSED"
        assert await up_to(viewer, "0002") == "b"
        await origin.polled(2)
        assert origin.polls == [
            f"{S}?live=long-poll&offset=0001",
            f"{S}?cursor=7&live=long-poll&offset=0002",
        ]
        assert len(origin.catch_ups) == 1


async def test_a_poll_behind_the_tail_gets_the_data_at_once() -> None:
    async with live(b"a", b"b") as (origin, gateway):
        assert news(await gateway.ask(get(at("0001")))) == (200, b"b", "0002", "true")
        assert news(await gateway.ask(get(at("-1")))) == (200, b"ab", "0002", "true")
        # It is followed from there on: in a herd, some always come too late for the tail.
        assert all("offset=0002" in target for target in origin.polls)


async def test_live_reads_from_now_begin_at_the_tail() -> None:
    async with live(b"a") as (origin, gateway):
        client = await polling(gateway, "now")
        viewer = await following(gateway, "now")
        assert await up_to(viewer, "0001") == ""
        await origin.polled(1)
        origin.append(b"b")
        assert news(await client.answer()) == (200, b"b", "0002", "true")
        assert await up_to(viewer, "0002") == "b"


async def test_a_poll_times_out_after_the_long_poll_timeout_of_the_gateway() -> None:
    async with live(b"a", long_poll_timeout=0.1) as (_, gateway):
        got = await gateway.ask(get(at("0001")))
        assert news(got) == (204, b"", "0001", "true")
        assert got.get("Stream-Cursor") is not None


async def test_json_events_are_joined_by_item() -> None:
    async with live(b"1", b"2", content_type="application/json") as (origin, gateway):
        viewer = await following(gateway, "-1")
        events = await viewer.events_until(told("0002"))
        assert json.loads(events[0].data) == [1, 2]
        await origin.polled(1)
        origin.append(b"3", b'{"a":[]}')
        events = await viewer.events_until(told("0004"))
        assert json.loads(events[2].data) == [3, {"a": []}]


async def test_readers_behind_the_tail_get_recent_data_or_a_read_of_the_origin() -> None:
    async with live(b"a", b"b") as (origin, gateway):
        first = await following(gateway, "0002")
        for number, piece in enumerate((b"c", b"d", b"e"), start=1):
            await origin.polled(number)
            origin.append(piece)
            await up_to(first, f"{number + 2:04}")
        asked = len(origin.catch_ups)
        got = await gateway.ask(get(at("0003")))
        assert news(got) == (200, b"de", "0005", "true")
        assert got.get("X-Cache") == "COLLAPSED"
        assert await up_to(await following(gateway, "0003"), "0005") == "de"
        assert len(origin.catch_ups) == asked
        assert news(await gateway.ask(get(at("0001")))) == (200, b"bcde", "0005", "true")
        assert await up_to(await following(gateway, "-1"), "0005") == "abcde"


async def test_a_poll_ahead_of_the_feed_gets_the_data_that_follow_its_offset() -> None:
    """Its reader was told of the data by another gateway, sooner."""
    async with viewed(b"a") as (origin, gateway, viewer):
        origin.pieces += [b"b", b"c"]  # the poll that waits has not been answered yet
        ahead = await polling(gateway, "0003")
        origin.tell()
        assert await up_to(viewer, "0003") == "bc"
        await origin.polled(2)
        assert gateway.limits.live_readers == 2
        origin.append(b"d")
        assert news(await ahead.answer()) == (200, b"d", "0004", "true")


async def test_a_poll_at_an_offset_within_the_next_news_gets_the_rest_of_them() -> None:
    async with viewed(b"a") as (origin, gateway, viewer):
        origin.pieces += [b"b", b"c"]
        ahead = await polling(gateway, "0003")
        origin.append(b"d")  # the one answer that the feed gets brings all three
        assert news(await ahead.answer()) == (200, b"d", "0004", "true")
        assert await up_to(viewer, "0004") == "bcd"


async def test_a_viewer_whose_catch_up_is_empty_does_not_repeat_it_in_a_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catch-ups may go to a replica that has not heard yet of what the poll has brought."""
    # The empty answer is a doubt, too; a viewer that waits longer for its end is cut off.
    monkeypatch.setattr(checks, "LONGEST_COMPARISON_S", 60.0)
    async with live(b"a") as (origin, gateway):
        first = await following(gateway, "0001")
        await origin.polled(1)
        origin.visible = 0
        origin.append(b"b")
        await up_to(first, "0002")
        late = await following(gateway, "-1")
        await until(lambda: f"{S}?offset=0000" in origin.catch_ups)
        for _ in range(20):
            gateway.clock.advance(2)  # what was empty is kept for a second
            await gateway.ask(get(f"{EDGE}/other?offset=5"))
        assert origin.catch_ups.count(f"{S}?offset=0000") == 1
        origin.visible = None
        await origin.polled(2)
        origin.append(b"c")
        assert await up_to(late, "0003") == "abc"
        assert await up_to(first, "0003") == "bc"


def cut_after(*lines: str) -> Play:
    head = ["HTTP/1.1 200 OK", TEXT, NEXT, *lines]

    async def play(wire: Wire) -> None:
        await wire.send("\r\n".join(head).encode())
        await wire.close()

    return play


def later(retry_after: str, status: str = "503 Later") -> bytes:
    return answer(b"", f"Retry-After: {retry_after}", status=status)


TEXT, NEXT = "Content-Type: text/plain", "Stream-Next-Offset: 0002"
DATES = "Date: Sat, 21 Nov 2026 08:00:00 GMT", "Retry-After: Sat, 21 Nov 2026 08:00:09 GMT"
TROUBLES: dict[str, tuple[bytes | Play, int, str]] = {
    "closes": (close, 502, "1"),
    "resets": (reset, 502, "1"),
    "cut within its length": (cut_after("Content-Length: 7", "", "sec"), 502, "1"),
    "cut between chunks": (cut_after("Transfer-Encoding: chunked", "", "3", "sec", ""), 502, "1"),
    "no offset": (answer(b"<html>", "Content-Type: text/html"), 502, "1"),
    "compressed": (answer(b"\x1f\x8b", NEXT, "Content-Encoding: gzip"), 502, "1"),
    "no HTTP": (b"nonsense\r\n\r\n", 502, "1"),
    "500": (answer(status="500 Oops"), 503, "1"),
    "429": (answer(status="429 Slow Down"), 503, "1"),
    "503 with Retry-After": (later("7"), 503, "7"),
    "429 with Retry-After": (later("7", "429 Slow Down"), 503, "7"),
    "a date": (answer(b"", *DATES, status="503 Later"), 503, "9"),
    "zero": (later("0"), 503, "1"),
    "in words": (later("soon"), 503, "1"),
    "negative": (later("-5"), 503, "1"),
    "below the limit": (later("59"), 503, "59"),
    "at the limit": (later("60"), 503, "60"),
    "over the limit": (later("61"), 503, "60"),
}


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(("trouble", "status", "again_s"), TROUBLES.values(), ids=TROUBLES)
async def test_a_failing_origin_is_an_error_for_polls(
    trouble: bytes | Play, status: int, again_s: str
) -> None:
    async with live(b"a") as (origin, gateway):
        waiter = await polling(gateway, "0001", "Accept-Encoding: gzip")
        await origin.polled(1)
        assert "Accept-Encoding: identity" in origin.heard[-1].fields
        origin.answer_all(trouble)
        got = await waiter.answer()
        assert (got.status, got.get("Retry-After")) == (status, again_s)


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("trouble", ["closes", "503 with Retry-After"])
async def test_viewers_get_what_comes_after_the_trouble_of_an_origin(trouble: str) -> None:
    async with waiting(b"a") as (origin, gateway, waiter):
        viewer = await following(gateway, "0001")
        origin.instead, status, _ = TROUBLES[trouble]
        origin.tell()
        assert (await waiter.answer()).status == status
        origin.instead = None
        origin.append(b"b")
        assert await up_to(viewer, "0002") == "b"
        assert news(await gateway.ask(get(at("0001")))) == (200, b"b", "0002", "true")


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(answer(status="500 Oops"), id="a-500"),
        pytest.param(answer(b"", "Stream-Next-Offset: 0000", TEXT), id="an-end-before-its-start"),
    ],
)
async def test_one_bad_answer_to_a_poll_is_hidden_from_readers(trouble: bytes) -> None:
    async with waiting(b"a") as (origin, _, waiter):
        origin.answer_all(trouble)
        await until(lambda: origin.waiting == 0)
        origin.instead = None
        await origin.polled(2)
        origin.append(b"b")
        assert news(await waiter.answer()) == (200, b"b", "0002", "true")


async def test_a_stream_is_followed_for_the_linger_time_after_its_last_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(followed_streams, "LINGER_S", 1.0)
    async with live(b"a", long_poll_timeout=0.05) as (origin, gateway):
        first = await gateway.ask(get(at("0001")))
        assert first.status == 204
        await origin.polled(1)
        second = await gateway.ask(get(at("0001")))
        assert (second.status, gateway.limits.feeds) == (204, 1)
        assert (len(origin.polls), len(origin.catch_ups)) == (1, 1)
        await until(lambda: gateway.limits.feeds == 0)
        await until(lambda: origin.waiting == 0)


async def test_data_that_arrived_without_readers_are_in_the_next_poll() -> None:
    async with live(b"a", long_poll_timeout=0.05) as (origin, gateway):
        await gateway.ask(get(at("0001")))
        origin.append(b"b")
        await origin.polled(2)
        got = await gateway.ask(get(at("0001")))
        assert news(got) == (200, b"b", "0002", "true")
        assert len(origin.catch_ups) == 1


async def test_a_reader_that_disconnects_is_no_longer_counted() -> None:
    async with waiting(b"a") as (_, gateway, waiter):
        viewer = await following(gateway, "0001")
        waiter.close()
        viewer.close()
        await until(lambda: gateway.limits.live_readers == 0)


def end_at(offset: str) -> dict[str, object]:
    return {"streamNextOffset": offset, "streamClosed": True, "upToDate": True}


@pytest.mark.parametrize(("last", "status", "tail"), [((), 204, "0001"), ((b"b",), 200, "0002")])
async def test_a_closure_ends_polls_and_viewers_with_the_last_data(
    last: tuple[bytes, ...], status: int, tail: str
) -> None:
    async with waiting(b"a") as (origin, gateway, waiter):
        viewer = await following(gateway, "0001")
        origin.close_stream(*last)
        got = await waiter.answer()
        assert news(got) == (status, b"".join(last), tail, "true")
        assert (got.get("Stream-Closed"), got.get("Stream-Cursor")) == ("true", None)
        events = await viewer.events_to_the_end()
        assert text(events).encode() == b"".join(last)
        assert json.loads(events[-1].data) == end_at(tail)
        await until(lambda: gateway.limits.feeds == 0)


@pytest.mark.parametrize(("start", "rest"), [("-1", "ab"), ("0001", "b"), ("0002", "")])
async def test_live_reads_of_a_closed_stream_end_at_once(start: str, rest: str) -> None:
    """Also from copies: nothing can have followed them."""
    async with live(b"a", b"b") as (origin, gateway):
        origin.close_stream()
        for _ in range(3):
            got = await gateway.ask(get(at(start)))
            assert news(got) == (200 if rest else 204, rest.encode(), "0002", "true")
            assert got.get("Stream-Closed") == "true"
            events = await (await following(gateway, start)).events_to_the_end()
            assert text(events) == rest
            assert json.loads(events[-1].data) == end_at("0002")
        await until(lambda: gateway.limits.feeds == 0)


async def test_a_closed_204_counts_without_an_up_to_date_header() -> None:
    """Nothing can follow it."""
    async with waiting(b"a") as (origin, _, waiter):
        origin.instead = answer(
            b"", "Stream-Next-Offset: 0001", "Stream-Closed: true", status="204 No Content"
        )
        origin.tell()
        got = await waiter.answer()
        assert (got.status, got.get("Stream-Closed")) == (204, "true")


@pytest.mark.parametrize(("status", "code"), [("404 Not Found", 404), ("410 Gone", 410)])
async def test_a_404_or_410_of_the_origin_ends_the_polls_and_viewers_of_a_stream(
    status: str, code: int
) -> None:
    async with live(b"a") as (origin, gateway):
        waiter = await polling(gateway, "0001")
        viewer = await following(gateway, "0001")
        await gateway.ask(get(f"{S}?offset=-1"))
        await origin.polled(1)
        origin.answer_all(answer(b"gone", status=status))
        assert (await waiter.answer()).status == code
        await viewer.events_to_the_end()
        await until(lambda: gateway.limits.feeds == 0)
        got = await gateway.ask(get(f"{S}?offset=-1"))
        assert (got.status, got.body) == (code, b"gone")


async def test_a_403_to_the_feed_ends_its_waiting_polls() -> None:
    async with waiting(b"a") as (origin, gateway, waiter):
        origin.answer_all(answer(b"no", status="403 Forbidden"))
        assert (await waiter.answer()).status == 502
        got = await gateway.ask(get(at("0001")))
        assert (got.status, got.body) == (403, b"no")


async def test_reads_after_a_deletion_through_the_gateway_are_not_answered_from_the_feed() -> None:
    """The origin need not end the polls of a stream that is deleted."""
    async with confirmed_at_tail(b"a") as (origin, gateway):
        assert (await gateway.ask(request("DELETE", S))).status == 204
        origin.instead = answer(b"gone", status="404 Not Found")
        assert (await gateway.ask(get(f"{S}?offset=0001"))).status == 404
        assert (await gateway.ask(get(at("0001")))).status == 404


async def test_a_recreated_stream_is_not_answered_from_the_closed_feed() -> None:
    """The feed of the closed one may linger, since its last reader left before the end."""
    async with viewed(b"a") as (origin, gateway, viewer):
        viewer.close()
        await until(lambda: gateway.limits.live_readers == 0)
        (stream,) = gateway.edge.feeds.table.by_key.values()
        origin.close_stream()
        await until(lambda: stream.feed.closed)
        assert (await gateway.ask(get(f"{S}?offset=0001"))).get("Stream-Closed") == "true"
        assert (await gateway.ask(request("DELETE", S))).status == 204
        origin.closed_stream = False
        assert (await gateway.ask(request("PUT", S))).status == 204
        again = await polling(gateway, "0001")
        await origin.polled(2)
        origin.append(b"b")
        assert news(await again.answer()) == (200, b"b", "0002", "true")


async def test_a_read_at_the_tail_of_a_followed_stream_causes_no_origin_request() -> None:
    async with confirmed_at_tail(b"a") as (origin, gateway):
        asked = len(origin.catch_ups)
        got = await gateway.ask(get(f"{S}?offset=0001"))
        assert news(got) == (200, b"", "0001", "true")
        assert got.get("Cache-Control") == "no-cache, s-maxage=1, stale-while-revalidate=0"
        assert len(origin.catch_ups) == asked


@pytest.mark.parametrize(("has_tag", "status"), [(True, 304), (False, 200)])
async def test_a_client_that_has_the_answer_at_a_followed_tail_gets_304(
    has_tag: bool, status: int
) -> None:
    async with live(b"a") as (origin, gateway):
        await polling(gateway, "0001")
        await origin.polled(1)
        await confirmed(gateway)
        first = await gateway.ask(get(f"{S}?offset=0001"))
        tag = first.get("ETag") if has_tag else '"other"'
        again = await gateway.ask(get(f"{S}?offset=0001", f"If-None-Match: {tag}"))
        assert (again.status, again.body, again.get("ETag")) == (status, b"", first.get("ETag"))


async def test_the_tail_of_one_stream_does_not_count_for_another_query_at_its_path() -> None:
    """Query keys that the protocol does not know may name other streams, with equal offsets."""
    async with confirmed_at_tail(b"a") as (origin, gateway):
        other = get(f"{S}?offset=-1&shard=2")
        assert (await gateway.ask(other)).get("Stream-Up-To-Date") == "true"
        kept = await gateway.ask(other)
        assert (kept.body, kept.get("X-Cache")) == (b"a", "HIT")
        gateway.clock.advance(1)
        origin.instead = reset
        kept = await gateway.ask(other)
        assert (kept.body, kept.get("X-Cache")) == (b"a", "STALE")
        assert kept.get("Stream-Up-To-Date") is None


async def test_a_cached_response_is_up_to_date_for_a_second_or_if_its_tail_is_confirmed() -> None:
    async with live(b"a") as (origin, gateway):
        origin.says_of_reads = ['ETag: "1"']
        whole = get(f"{S}?offset=-1")
        first, kept = [await gateway.ask(whole) for _ in range(2)]
        assert (kept.get("X-Cache"), kept.get("Stream-Up-To-Date")) == ("HIT", "true")
        assert kept.get("ETag") == first.get("ETag") == '"1:tail"'
        origin.instead = reset
        gateway.clock.advance(1)
        kept = await gateway.ask(whole)
        assert (kept.get("X-Cache"), kept.get("Stream-Up-To-Date")) == ("STALE", None)
        assert kept.get("ETag") == '"1"'
        unchanged = get(f"{S}?offset=-1", 'If-None-Match: "1:tail"')
        assert (await gateway.ask(unchanged)).status == 200
        origin.instead = None
        await polling(gateway, "0001")
        await origin.polled(1)
        await confirmed(gateway)
        kept = await gateway.ask(whole)
        assert kept.get("Stream-Up-To-Date") == "true"
        assert (await gateway.ask(unchanged)).status == 304


@pytest.mark.parametrize("closes", [False, True])
async def test_a_read_at_the_tail_after_a_write_through_the_gateway_requests_the_origin(
    closes: bool,
) -> None:
    async with confirmed_at_tail(b"a") as (origin, gateway):
        origin.closed_stream = closes  # the poll that waits is told of it later
        origin.pieces += [] if closes else [b"b"]
        write = (
            request("POST", S, "Stream-Closed: true") if closes else request("POST", S, body=b"b")
        )
        assert (await gateway.ask(write)).status == 204
        got = await gateway.ask(get(f"{S}?offset=0001"))
        new = (b"", "0001") if closes else (b"b", "0002")
        assert news(got) == (200, *new, "true")
        assert got.get("Stream-Closed") == ("true" if closes else None)


@pytest.mark.parametrize("closes", [False, True])
async def test_a_feed_is_not_up_to_date_without_a_write_made_during_its_first_catch_up(
    monkeypatch: pytest.MonkeyPatch, closes: bool
) -> None:
    """Its client may ask for the tail at once, and joins whom the answer came too early for."""
    async with live(b"a") as (origin, gateway):
        reader = gateway.edge.feeds.reader
        read = reader.catch_up

        async def overtaken(request: CacheRequest, offset: str) -> CacheResult:
            result = await read(request, offset)
            if not closes:
                origin.pieces.append(b"b")
            origin.closed_stream = closes
            reach = TailBound("0001", closed=True) if closes else TailBound("0002")
            gateway.edge.feeds.writes.on_write(
                request.path, reach
            )  # as the head of a write's answer does
            return result

        monkeypatch.setattr(reader, "catch_up", overtaken)
        viewer = await following(gateway, "0001")
        events = await viewer.events_until(lambda events: len(events) > 0)
        assert json.loads(events[0].data) == {"streamNextOffset": "0001", "streamCursor": ANY}


async def test_other_credentials_and_unknown_query_keys_make_separate_feeds() -> None:
    async with live(b"a") as (origin, gateway):
        await polling(gateway, "0001")
        for line in ("Cookie: a", "Cookie: a", "Cookie: b"):
            await polling(gateway, "0001", line)
        client = await gateway.connect()
        client.send(get(at("0001", "long-poll", "shard=2")))
        await until(lambda: len(origin.polls) == 4)
        assert gateway.limits.feeds == 4
        assert origin.polls[-1] == f"{S}?live=long-poll&offset=0001&shard=2"


@pytest.mark.parametrize("who", ["Authorization: Bearer a", "Cookie: a"])
async def test_responses_to_polls_with_credentials_are_not_public(who: str) -> None:
    """A cache further on would give it to everybody, even where it respects credentials."""
    async with live(b"a", b"b", long_poll_timeout=HOLDS_S + 0.2) as (origin, gateway):
        behind = await gateway.ask(get(at("0001"), who))
        ended = await gateway.ask(get(at("0002"), who))
        await confirmed(gateway, "0002", who)
        waiter = await polling(gateway, "0002", who)
        empty = await gateway.ask(get(f"{S}?offset=0002", who))
        origin.append(b"c")
        told = await waiter.answer()
        after = await gateway.ask(get(at("0002"), who))
        caught_up = await gateway.ask(get(f"{S}?offset=0002", who))
        statuses = [got.status for got in (behind, ended, empty, told, after, caught_up)]
        assert statuses == [200, 204, 200, 200, 200, 200]
        for got in (behind, ended, empty, told, after, caught_up):
            for name in ("Cache-Control", "CDN-Cache-Control", "Surrogate-Control"):
                assert "public" not in (got.get(name) or ""), got


@pytest.mark.parametrize("line", ["Cache-Control: no-store", "Cache-Control: private"])
async def test_news_are_not_public_if_the_origin_forbids_caches(
    line: str,
) -> None:
    async with live(b"a") as (origin, gateway):
        origin.says = [line]
        viewer = await following(gateway, "0001")
        await origin.polled(1)
        origin.append(b"b")
        await up_to(viewer, "0002")
        for target in (f"{S}?offset=0001", at("0001")):
            got = await gateway.ask(get(target))
            assert news(got) == (200, b"b", "0002", "true")
            assert "public" not in (got.get("Cache-Control") or ""), target


async def test_recent_data_are_cached_no_longer_than_their_stream_lives() -> None:
    async with live() as (origin, gateway):
        made = request("PUT", S, "Stream-Expires-At: 2027-01-15T08:00:09Z")
        assert (await gateway.ask(made)).status == 204
        viewer = await following(gateway, "0000")
        await origin.polled(1)
        origin.append(b"a")
        await up_to(viewer, "0001")
        for target in (f"{S}?offset=0000", at("0000"), at("0000", "long-poll", NEXT_KEY)):
            got = await gateway.ask(get(target))
            assert news(got) == (200, b"a", "0001", "true")
            told = got.get("Cache-Control") or ""
            assert ("max-age=9" in told) is (NEXT_KEY in target), target
            assert ("s-maxage=1" in told) is (NEXT_KEY not in target), target


@pytest.mark.parametrize(("limit", "refused"), [(1, 1), (2, 0), (3, 0)])
async def test_the_number_of_followed_streams_is_bounded_by_max_feeds(
    limit: int, refused: int
) -> None:
    async with live(b"a", max_feeds=limit, trusted_proxies=("127.0.0.1",)) as (_, gateway):
        await polling(gateway, "0001", "X-Forwarded-For: 192.0.2.1")
        client = await gateway.connect()
        client.send(get(f"{EDGE}/t?offset=0001&live=long-poll", "X-Forwarded-For: 192.0.2.2"))
        if refused:
            assert (await client.answer()).status == 503
        else:
            await until(lambda: gateway.limits.feeds == 2)
        assert gateway.limits.refused["max_feeds"] == refused


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
async def test_more_live_readers_than_the_limit_are_refused(mode: str) -> None:
    async with waiting(b"a", max_live_readers=1) as (origin, gateway, waiter):
        assert (await gateway.ask(get(at("0001", mode)))).status == 503
        origin.append(b"b")
        assert (await waiter.answer()).status == 200
        await polling(gateway, "0002")


async def test_draining_answers_all_polls_and_ends_all_viewers() -> None:
    async with live(b"a") as (_, gateway):
        waiter = await polling(gateway, "0001")
        viewer = await following(gateway, "0001")
        await up_to(viewer, "0001")
        gateway.server.begin_close()
        draining = asyncio.create_task(gateway.edge.drain())
        assert (await waiter.answer()).status == 204
        await viewer.events_to_the_end()
        await draining
        assert (gateway.limits.feeds, gateway.limits.live_readers) == (0, 0)
        assert (await gateway.ask(get(at("0001")))).status == 503


@pytest.mark.parametrize("asked", ["-1", "now"])
@pytest.mark.parametrize(
    ("seen", "rest"), [("-1", "abc"), ("0001", "bc"), ("0002", "c"), ("0003", "")]
)
@pytest.mark.parametrize("place", ["header", "query"])
async def test_an_event_source_continues_after_its_last_event_id(
    place: str, asked: str, seen: str, rest: str
) -> None:
    """It asks for the same URL again, and says how far it came: a polyfill in the query."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        if place == "header":
            viewer = await following(gateway, asked, f"Last-Event-ID: {seen}")
        else:
            viewer = await following(gateway, f"{asked}&lastEventId={seen}")
        assert await up_to(viewer, "0003") == rest
        await origin.polled(1)
        origin.append(b"d")
        assert await up_to(viewer, "0004") == f"{rest}d"
        assert not any("Last-Event-ID" in field for heard in origin.heard for field in heard.fields)
        assert not any("lastEventId" in heard.target for heard in origin.heard)
        assert len(gateway.edge.feeds.table.by_key) == 1, "readers share what is followed"


async def test_an_event_source_at_the_end_of_a_closed_stream_gets_204() -> None:
    """An EventSource takes every 200 that ends for a reason to connect again."""
    async with live(b"a") as (origin, gateway):
        origin.close_stream()
        for got in (
            await gateway.ask(get(at("-1", "sse"), "Last-Event-ID: 0001")),
            await gateway.ask(get(f"{at('-1', 'sse')}&lastEventId=0001")),
        ):
            assert (got.status, got.get("Stream-Closed")) == (204, "true")


async def test_an_event_source_without_an_event_of_an_empty_closed_stream_gets_its_end() -> None:
    async with live() as (origin, gateway):
        origin.close_stream()
        for line in ("X-Other: 1", "Last-Event-ID: -1"):
            client = await gateway.connect()
            client.send(get(at("-1", "sse"), line))
            assert (await client.answer()).status == 200, line


async def test_an_append_is_read_at_once_although_the_poll_of_the_feed_does_not_return() -> None:
    """Also when the poll of the feed began before, and the origin keeps it all the same."""
    async with live(b"a") as (origin, gateway):
        await polling(gateway, "0001")
        await origin.polled(1)
        origin.pieces.append(b"b")  # the poll that waits is not told of it
        assert (await gateway.ask(request("POST", S, body=b"b"))).status == 204
        end = asyncio.get_running_loop().time() + HOLDS_S + 0.3
        while asyncio.get_running_loop().time() < end:
            for line in ("X-Fast: 1", "X-Request-Id:a"):  # on both ways
                got = await gateway.ask(get(f"{S}?offset=0001", line))
                assert news(got)[:3] == (200, b"b", "0002")
            gateway.clock.advance(1)
            await asyncio.sleep(0.05)  # the time that the feed is held for is what is tested


async def test_a_poll_answered_from_recent_data_has_the_current_date_and_cursor() -> None:
    async with viewed(b"a") as (origin, gateway, viewer):
        origin.append(b"b")
        await up_to(viewer, "0002")
        client = await gateway.connect()
        dates, cursors = [], []
        for _ in range(2):
            got = await client.ask(get(at("0001")))
            assert news(got) == (200, b"b", "0002", "true")
            dates.append(got.get("Date"))
            cursors.append(int(got.get("Stream-Cursor") or ""))
            gateway.clock.advance(3600)
        assert dates == ["Fri, 15 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 2027 09:00:00 GMT"]
        assert cursors[1] == cursors[0] + 3600 // INTERVAL_S


async def test_a_failed_catch_up_for_a_disconnected_viewer_raises_no_error() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    async with live(b"a", b"b", b"c") as (origin, gateway):
        await following(gateway, "0003")
        await origin.polled(1)
        origin.visible = 1
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"a"
        steps = Steps(b"", answer(status="404 Not Found"))
        origin.instead = steps
        gone = await following(gateway, "-1")
        await until(lambda: steps.sent == 1)
        gone.abort()
        await until(lambda: gateway.limits.live_readers == 1)
        steps.go()
        await until(lambda: steps.sent == 2)
        for _ in range(3):
            await gateway.ask(get("/nowhere"))  # by then the answer has come
    gc.collect()
    assert complaints == []
