"""The short ways to a kept answer give the bytes that the ordinary way gives."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_gateway.web.connections import fast_path
from tests.support.examples import IS_WHOLE, at_least
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, offset, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Answer, Client
    from tests.support.serving import Serving

S = f"{EDGE}/s"
MINUTE = "Cache-Control: max-age=60"
MOMENT = ("x-request-id", "x-cache-hits")  # of what differs between two answers to one request


def lines(got: Answer) -> list[tuple[str, str]]:
    return [field for field in got.fields if field[0] not in MOMENT]


def same(one: Answer, other: Answer) -> bool:
    """Status, every line in its order, and the body."""
    return (one.status, lines(one), one.body) == (other.status, lines(other), other.body)


async def test_a_response_is_served_on_the_fast_path_while_it_is_fresh() -> None:
    async with (
        RawOrigin(answer(b"1", MINUTE), answer(b"2", MINUTE)) as raw,
        edge_serving(raw) as gateway,
    ):
        client = await gateway.connect()
        await client.ask(get(S))
        gateway.clock.advance(59.5)
        got = await client.ask(get(S))
        assert (got.body, got.get("Age"), gateway.fast.answered) == (b"1", "59", 1)
        gateway.clock.advance(0.5)
        assert (await client.ask(get(S))).body == b"2"


SAID = st.lists(
    st.sampled_from(
        [
            *("Cache-Control: max-age=5", "Cache-Control: public, max-age=60"),
            *("Cache-Control: s-maxage=9, stale-while-revalidate=60", "Cache-Control: no-cache"),
            *("CDN-Cache-Control: max-age=30", "Vary: Accept-Encoding"),
            *("Vary: accept-language, Cookie", "Vary: Origin", "Content-Encoding: gzip"),
            *("Content-Type: application/json", "ETag: unquoted", 'ETag: W/"weak"'),
            "Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT",
            *("Date: Fri, 15 Jan 2027 07:59:58 GMT", "Age: 3"),
            *("Expires: Fri, 15 Jan 2027 08:00:09 GMT", "Access-Control-Allow-Origin: *"),
            *("Set-Cookie: a=1", "Stream-Next-Offset: 9", "Stream-Up-To-Date: true"),
            *("Stream-Closed: true", "Stream-Cursor: 12", "Link: </a>; rel=preload"),
        ]
    ),
    max_size=7,
    unique_by=lambda line: line.split(":")[0],
)
NOT_CACHED = ("Cache-Control", "CDN-Cache-Control", "Set-Cookie", "Vary")
CACHED = SAID.map(lambda said: [MINUTE, *(it for it in said if not it.startswith(NOT_CACHED))])
ASKED = st.lists(
    st.sampled_from(
        [
            *("Accept-Encoding: gzip, br", "Accept-Encoding: identity"),
            *("Accept-Language: en, de;q=0.5", "Cookie: a=1", "Authorization: Bearer a"),
            *("Range: bytes=1-2", "If-Modified-Since: Fri, 15 Jan 2027 07:30:00 GMT"),
            *("Origin: https://a.example", "Cache-Control: no-cache"),
            *("Cache-Control: only-if-cached", "Via: 1.1 other", "Connection: keep-alive, X-Hop"),
        ]
    ),
    max_size=4,
    unique_by=lambda line: line.split(":")[0],
)


STATUSES = st.sampled_from(["200 OK", "203 Other", "301 Moved", "404 Not Found", "599 X"])
BODIES = st.sampled_from([b"body", b"", b"x" * 100_000])
SURE: list[tuple[str, bytes, list[str], list[str], list[str]]] = [
    ("404 Not Found", b"body", [MINUTE], [], ["Accept-Encoding: identity"]),
    ("200 OK", b"", [MINUTE, 'ETag: W/"weak"'], [], []),
    ("204 No Content", b"", [MINUTE], [], []),
    ("599 X", b"x" * 100_000, [MINUTE, "Vary: Origin"], ["Accept-Language: en"], []),
    ("200 OK", b"\x1f\x8b", [MINUTE, "Content-Encoding: gzip"], ["Range: bytes=1-2"], []),
]


def test_a_hit_is_the_same_on_both_paths_for_any_response_and_request() -> None:
    numbers = count()
    hits = 0

    async def once(script: bytes, said: list[str], asked: list[str], later: list[str]) -> None:
        nonlocal hits
        raw.scripts = [script]
        target = f"{EDGE}/{next(numbers)}?offset=1"
        client = await gateway.connect()
        for lines in (asked, asked, later, asked):
            one = await client.ask(get(target, *lines))
            ordinary = await client.ask(get(target, *lines, "X-Request-Id:a"))
            if one.get("X-Cache") == "HIT":
                hits += 1
                assert same(one, ordinary), (said, lines, one, ordinary)
                assert one.status != 204 or one.get("Content-Length") is None  # RFC 9110, 8.6
        client.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        raw = runner.run(stack.enter_async_context(RawOrigin(answer())))
        gateway = runner.run(stack.enter_async_context(edge_serving(raw)))

        def compare(
            status: str, body: bytes, said: list[str], asked: list[str], later: list[str]
        ) -> None:
            runner.run(once(answer(body, *said, status=status), said, asked, later))

        random = given(STATUSES, BODIES, SAID | CACHED, ASKED, ASKED)(compare)
        try:
            for case in SURE:
                compare(*case)
            assert hits >= 3 * 3
            hits = 0
            settings(max_examples=200 if IS_WHOLE else 20)(random)()
        finally:
            runner.run(stack.aclose())
    assert hits >= at_least(50, 5), "too few of the random ones are hits"


# ---------------------------------------------------------------- long-polls


async def parked(gateway: Serving, *more: str) -> Client:
    client = await gateway.connect()
    before = gateway.limits.live_readers
    client.send(get(f"{S}?offset=0001&live=long-poll", *more))
    await until(lambda: gateway.limits.live_readers == before + 1)
    return client


@pytest.mark.parametrize("happens", ["data", "closed", "gone", "time is over"])
async def test_a_poll_gets_the_same_response_on_the_fast_and_ordinary_paths(happens: str) -> None:
    timeout = 2.0 if happens == "time is over" else 30  # for all three to wait at once
    async with (
        LiveOrigin(b"a") as origin,
        edge_serving(origin, long_poll_timeout=timeout) as gateway,
    ):
        first = await parked(gateway)  # by a task, which begins the feed
        await origin.polled(1)
        handled = gateway.watch_handlers()
        fast = await parked(gateway)
        ordinary = await parked(gateway, "X-Request-Id:a")
        assert handled
        if happens == "data":
            origin.append(b"b")
        elif happens == "closed":
            origin.close_stream()
        elif happens == "gone":
            origin.instead = answer(b"", status="404 Not Found")
            origin.tell()
        answers = [await client.answer() for client in (first, fast, ordinary)]
        assert answers[0].status == {"data": 200, "gone": 404}.get(happens, 204)
        assert same(answers[1], answers[2]), answers
        assert same(answers[0], answers[2]), answers


@pytest.mark.parametrize("kind", ["own log", "origin"])
async def test_a_repeated_poll_is_known_by_its_bytes_and_waits_without_parsing(kind: str) -> None:
    """The second one goes no other way, is counted alike, and gets the same bytes."""
    async with LiveOrigin(b"a") as origin, edge_serving(origin) as gateway:
        target = f"{S}?offset=0001&live=long-poll"
        if kind == "own log":
            await gateway.ask(put("s", body=b"a"))
            target = f"s?offset={offset(1)}&live=long-poll"
        else:
            await parked(gateway)  # by a task, which begins the feed
            await origin.polled(1)
        before = gateway.limits.live_readers
        handled = gateway.watch_handlers()
        clients = [await gateway.connect() for _ in range(3)]
        for waiting, client in enumerate(clients, before + 1):
            client.send(get(target))
            await until(lambda: gateway.limits.live_readers == waiting)  # noqa: B023 - waited for
            assert list(gateway.fast.heads.fresh) == [get(target)]
        assert not handled
        if kind == "own log":
            await gateway.ask(post("s", b"b"))
        else:
            origin.append(b"b")
        answers = [await client.answer() for client in clients]
        assert {(it.status, it.body, it.same) for it in answers} == {(200, b"b", answers[0].same)}
        # At another moment the same bytes are answered at once.
        late = await clients[0].ask(get(target))
        assert (late.status, late.body) == (200, b"b")


async def test_recognised_polls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "REMEMBERED_HEADS", 4)
    async with serving() as gateway:
        await gateway.ask(put("s"))
        for number in range(1, 6):
            client = await gateway.connect()
            client.send(get(f"s?offset={offset(0)}&live=long-poll&cursor={number}"))
            await until(lambda: gateway.limits.live_readers == number)  # noqa: B023 - waited for
            assert len(gateway.fast.heads) == [0, 1, 2, 3, 4, 3][number]


LONG_LINES = {
    "a-traceparent": "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "a-long-header": f"X: {'x' * 1024}",
}


@pytest.mark.parametrize("line", LONG_LINES.values(), ids=LONG_LINES)
async def test_a_poll_with_unique_headers_is_not_remembered(line: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        client.send(get(f"s?offset={offset(0)}&live=long-poll", line))
        await until(lambda: gateway.limits.live_readers == 1)
        assert not len(gateway.fast.heads)
