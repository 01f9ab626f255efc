"""A kept read is answered alike, and as fast, with an id and a tag that no other request has."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate_gateway.telemetry.traffic import READ
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.requests.blocks import Blocks
from tests.edge.both_ways import EXAMPLES
from tests.support.gated_log import turns
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, noted, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Answer
    from tests.support.serving import Serving

S = f"{EDGE}/s"
MINUTE = "Cache-Control: max-age=60"
LINE = "X-Other: 1"
TAGGED = [MINUTE, 'ETag: "a"']


def seen(got: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return an answer but for the number of hits."""
    fields = [field for field in got.fields if field[0] != "x-cache-hits"]
    return got.status, fields, got.body


def by_task(line: str) -> str:
    """Return a line that means the same, and that no request is looked up without."""
    name, _, value = line.partition(": ")
    return f"{name}:{value}"


def statuses(gateway: Serving, *, edge: bool) -> list[int]:
    """Return how many reads had 2xx and 3xx."""
    traffic = (gateway.edge if edge else gateway.route).traffic
    return [traffic.request_count(READ, status) for status in (1, 2)]


async def check(gateway: Serving, target: str, *own: str, short: bool = True) -> Answer:
    """Ask with lines that are a request's own and return the answer, which a task gives as well.

    It goes the `short` way or not.
    """
    client = await gateway.connect()
    answered = gateway.fast.answered
    one = await client.ask(get(target, LINE, *own))
    assert gateway.fast.answered == answered + short
    other = await client.ask(get(target, LINE, *map(by_task, own)))
    assert gateway.fast.answered == answered + short
    assert seen(one) == seen(other)
    return one


@pytest.mark.parametrize("own", [["X-Request-Id: a"], ["x-request-id: B/1"]])
@pytest.mark.parametrize("kind", ["own log", "origin", "absent"])
async def test_a_hit_returns_the_request_id_of_the_request(kind: str, own: list[str]) -> None:
    status = "404 Not Found" if kind == "absent" else "200 OK"
    async with RawOrigin(answer(b"x", MINUTE, status=status)) as raw, edge_serving(raw) as gateway:
        await gateway.ask(put("s", body=b"one"))
        target = "s?offset=-1" if kind == "own log" else S
        for _ in range(2):
            await gateway.ask(get(target, LINE))
        got = await check(gateway, target, *own)
        assert got.get("X-Request-Id") == own[0].partition(": ")[2]


PARTS = [
    ("bytes=1-2", 206, b"bc", True),
    ("bytes=3-", 206, b"d", True),
    ("bytes=-2", 206, b"cd", True),
    ("bytes=0-9999999999999999", 206, b"abcd", True),
    ("bytes=3-1", 200, b"abcd", True),
    ("bytes=0-0,2-2", 200, b"abcd", False),
    ("items=0-1", 200, b"abcd", False),
]


@pytest.mark.parametrize(("part", "status", "body", "short"), PARTS)
@pytest.mark.parametrize("own", [[], ["X-Request-Id: a", 'If-None-Match: "b"']])
async def test_a_part_of_a_kept_answer_is_cut_from_it(
    part: str, status: int, body: bytes, short: bool, own: list[str]
) -> None:
    async with RawOrigin(answer(b"abcd", *TAGGED)) as raw, edge_serving(raw) as gateway:
        for _ in range(2):
            await gateway.ask(get(S, LINE))
        got = await check(gateway, S, f"Range: {part}", *own, short=short)
        assert (got.status, got.body) == (status, body)
        assert (await gateway.ask(get(S, LINE, "Range: bytes=4-"))).status == 416
        if status == 206:
            begin = b"abcd".index(got.body)
            assert got.get("Content-Range") == f"bytes {begin}-{begin + len(got.body) - 1}/4"
            had = await check(gateway, S, f"Range: {part}", 'If-None-Match: "a"')
            assert had.status == 304
            await check(gateway, S, f"Range: {part}", 'If-Range: "a"', short=False)
    assert len(raw.heard) == 1


@pytest.mark.parametrize("edge", [False, True])
async def test_a_hit_with_a_matching_tag_is_a_304(edge: bool) -> None:
    async with RawOrigin(answer(b"data", *TAGGED)) as raw, edge_serving(raw) as gateway:
        await gateway.ask(put("s", body=b"one"))
        target = S if edge else "s?offset=-1"
        kept = await gateway.ask(get(target, LINE))
        await gateway.ask(get(target, LINE))
        tag = kept.get("ETag")
        before = statuses(gateway, edge=edge)
        for had in (f"{tag}", f'"b",{tag}', f"W/{tag}"):
            got = await check(gateway, target, f"If-None-Match: {had}", "X-Request-Id: a")
            assert (got.status, got.body, got.get("ETag")) == (304, b"", tag)
        for other in ('"b"', f"{tag}x", "nonsense"):
            got = await check(gateway, target, f"If-None-Match: {other}")
            assert (got.status, got.body) == (200, kept.body)
        after = statuses(gateway, edge=edge)
        assert [now - then for now, then in zip(after, before, strict=True)] == [6, 6]


async def test_reads_with_different_ids_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = noted(monkeypatch)
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        await gateway.ask(get("s?offset=-1", "X-Request-Id: 0", LINE))
        parsed.clear()
        blocks = len(gateway.fast.blocks)
        for number in range(1, 20):
            got = await gateway.ask(get("s?offset=-1", f"X-Request-Id: {number}", LINE))
            assert got.get("X-Request-Id") == f"{number}"
            assert got.get("X-Cache-Hits") == f"{number}"
        assert parsed == []
        assert (len(gateway.fast.heads), len(gateway.fast.blocks)) == (1, blocks)


async def test_a_poll_with_an_id_gets_that_also_behind_an_equal_one_without() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        tail = (await gateway.ask(get("s?offset=-1"))).get("Stream-Next-Offset")
        polls = []
        for lines in ((), (), ("X-Request-Id: a",)):
            client = await gateway.connect()
            poll = get(f"s?offset={tail}&live=long-poll", *lines)
            polls.append(asyncio.ensure_future(client.ask(poll)))
            await turns()
        await gateway.ask(post("s", body=b"two"))
        answers = await asyncio.gather(*polls)
        assert [answer.body for answer in answers] == [b"two"] * 3
        assert answers[2].get("X-Request-Id") == "a"


@pytest.mark.parametrize("name", ["X-Request-Id", "If-None-Match", "CF-Ray"])
async def test_a_response_that_varies_by_an_own_line_is_selected_by_it(name: str) -> None:
    async with (
        RawOrigin(answer(b"data", MINUTE, f"Vary: {name}"), answer(b"b", MINUTE)) as raw,
        edge_serving(raw) as gateway,
    ):
        await gateway.ask(get(S, LINE))
        got = await gateway.ask(get(S, LINE, f"{name}: a"))
        assert (got.body, got.get("X-Cache"), gateway.fast.answered) == (b"b", "MISS", 0)


# Of which heads are made: own lines in all forms, and what else says how a head is to be read.
LINES = st.sampled_from(
    [
        *("X-Request-Id: a", "x-request-id: B", "X-Request-ID: c-1", "X-REQUEST-ID: d"),
        *("X-Request-Id:e", "X-Request-Id : f", "X-Request-Id:  g", "X-Request-Id: h i"),
        *("X-Request-Id: ", f"X-Request-Id: {'j' * 129}", "X-Request-Id: é", "X-Request-Id2: k"),
        *('If-None-Match: "a"', 'if-none-match: W/"a"', "If-None-Match: *", 'If-None-Match: "b"'),
        *('If-None-Match:"a"', 'If-None-Match: "b", "a"', "If-None-Match: nonsense"),
        *(" folded", "\tfolded", "", "no field", ": none", "X-Other: 1", "x-other: 2"),
        *("Range: bytes=0-1", "Origin: https://a.example", "Cookie: a=b", "Accept: */*"),
        *("Connection: keep-alive", "Connection: x-request-id", "Host: other.test", "Te: trailers"),
        *("Content-Length: 0", "Content-Length: 17", "Transfer-Encoding: chunked"),
        *("Cache-Control: only-if-cached", "If-Modified-Since: Fri, 15 Jan 2027 07:59:59 GMT"),
        *("Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Expect: x"),
    ]
)


def test_a_cached_head_means_the_same_as_a_parsed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One gateway remembers what came before, and the other parses each request anew."""
    shorter = received = 0
    receive = Connection.data_received

    def receiving(self: Connection, data: bytes) -> None:
        nonlocal received
        receive(self, data)
        received += 1

    monkeypatch.setattr(Connection, "data_received", receiving)

    async def said(gateway: Serving, wire: bytes) -> bytes:
        client = await gateway.connect()
        before = received
        client.send(wire)
        # Bytes that come before the answer may be a body; later ones are dropped.
        opened = gateway.server.connections
        await until(lambda: received > before and all(it.is_idle for it in opened))
        client.send(get(S, "Connection: close"))
        try:
            return re.sub(rb"X-Request-Id: [0-9a-f]{8}-[0-9a-f]+\r\n", b"", await client.rest())
        finally:
            client.close()

    async def once(knowing: Serving, parsing: Serving, lines: list[str], times: int) -> None:
        nonlocal shorter
        for _ in range(times):
            answered = knowing.fast.answered, parsing.fast.answered
            wire = get(S, *lines)
            one, other = await said(knowing, wire), await said(parsing, wire)
            assert one == other
            shorter += knowing.fast.answered - answered[0] > parsing.fast.answered - answered[1]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        origin = answer(b"data", "Cache-Control: max-age=9999", 'ETag: "a"')
        gateways = []
        for _ in range(2):
            raw = runner.run(stack.enter_async_context(RawOrigin(origin)))
            started = edge_serving(raw, cors_origins=["https://a.example"])
            gateways.append(runner.run(stack.enter_async_context(started)))
        knowing, parsing = gateways
        parsing.fast.known = lambda _: None  # type: ignore[method-assign,assignment]
        parsing.fast.blocks.at = lambda *_: None  # type: ignore[method-assign]

        @settings(max_examples=EXAMPLES)
        @given(st.lists(LINES, max_size=5), st.integers(1, 3))
        @example(["X-Request-Id: a"], 3)
        @example(['If-None-Match: "a"'], 3)
        @example(["Accept: */*", "x-request-id: B"], 3)
        def for_all(lines: list[str], times: int) -> None:
            runner.run(once(knowing, parsing, lines, times))

        try:
            for_all()
        finally:
            runner.run(stack.aclose())
    assert shorter > 5  # also if chance brings none


@pytest.mark.parametrize(
    ("name", "length", "is_taken"),
    [
        *(("X-Request-Id", 128, True), ("X-Request-Id", 129, False)),
        *(("If-None-Match", 256, True), ("If-None-Match", 257, False)),
    ],
)
def test_an_own_line_is_recognised_up_to_its_length(name: str, length: int, is_taken: bool) -> None:
    block = f"\r\nHost: a\r\n{name}: {'a' * length}".encode()
    pared = Blocks().pared(block)
    assert pared is not None
    assert (name in pared[1]) == is_taken


async def test_the_body_of_a_read_with_a_request_id_is_not_executed_as_a_request() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        body = get("s?offset=-1", "X-Request-Id: smuggled")

        def read(number: str) -> bytes:
            lines = f"X-Request-Id: {number}", f"Content-Length: {len(body)}"
            return get("s?offset=-1", *lines)

        await gateway.ask(read("1") + body)  # as one piece, so that its fields are known now
        client = await gateway.connect()
        client.send(read("2"))
        assert (await client.answer()).get("X-Request-Id") == "2"
        client.send(body + get("s?offset=-1", "X-Request-Id: 3"))
        assert (await client.answer()).get("X-Request-Id") == "3"


@pytest.mark.parametrize("own", ["X-Request-Id: ab", 'If-None-Match: "a"'])
async def test_a_line_without_cr_is_refused_behind_a_cached_head(own: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        read = get("s?offset=-1")
        for _ in range(2):
            await gateway.ask(read)
        answered = gateway.fast.answered
        got = await gateway.ask(read[:-1] + b"\r\n" + own.encode() + b"\n")
        assert (got.status, gateway.fast.answered) == (400, answered)


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(b"X-Request-Id: 1\r\n", id="a-request-id"),
        pytest.param(b'If-None-Match: "a"\r\n', id="a-condition"),
        pytest.param(b"\r\nX-Request-Id: 1", id="an-empty-line-and-a-cut-request-id"),
        pytest.param(b"\r\nX-Request-Id: 1\r\n", id="an-empty-line-and-a-request-id"),
    ],
)
async def test_a_line_behind_a_head_does_not_belong_to_the_head(behind: bytes) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        read = get("s?offset=-1")
        for _ in range(2):
            await gateway.ask(read)
        client = await gateway.connect()
        client.send(read + behind)
        assert (await client.answer()).get("X-Request-Id") is None
        client.send(b"\r\n")  # no request line has an end like that
        assert (await client.answer()).status == 400


async def test_a_conditional_read_after_an_append_gets_the_new_data() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        first = await gateway.ask(get("s?offset=-1", LINE))
        own = [f"If-None-Match: {first.get('ETag')}", "X-Request-Id: a"]
        assert (await gateway.ask(get("s?offset=-1", LINE, *own))).status == 304
        await gateway.ask(post("s", b"two"))
        got = await gateway.ask(get("s?offset=-1", LINE, *own))
        assert (got.status, got.body) == (200, b"onetwo")
