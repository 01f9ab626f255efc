"""What is asked without a task: when it goes that way, and what it holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from gateway.errors import OriginBroken
from gateway.origin import plain_head, raw_connection
from gateway.origin.connections import connector_of
from gateway.origin.pending_answer import PendingOriginAnswer, answer_of
from gateway.origin.pending_answer import send as ask_raw
from gateway.origin.plain_bodies import GATHERED_BYTES, MOST_CHUNKS
from gateway.origin.plain_head import LONGEST_HEAD, MOST_LINES, PlainHeads
from gateway.origin.whole_answer import WholeAnswer
from tests.origin import opening
from tests.origin.opening import LIMIT, TARGET, ask, opened, send
from tests.support.raw_origin import RawOrigin, Steps, answer, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from gateway.origin.client import Origin
    from gateway.origin.raw_way import RawQuestion
    from gateway.origin.response import OriginAnswer
    from tests.support.raw_origin import Wire

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "way", opening.RAW)


def question(origin: Origin, waiting: PendingOriginAnswer, body: bytes = b"") -> RawQuestion | None:
    """Ask, where a connection is kept."""
    assert origin.raw is not None, "open"
    return origin.raw.send("POST" if body else "GET", TARGET, b"", body, waiting)


def kept(origin: Origin) -> int:
    assert origin._pooled is not None, "open"
    return sum(map(len, connector_of(origin._pooled)._conns.values()))


async def test_a_plain_response_is_returned_whole_and_its_connection_reused() -> None:
    fields = ["b: 1", "A:  two  words ", 'ETag: "e"', "Stream-Next-Offset: 9", "é: x"]
    async with RawOrigin(answer(b"ab", *fields[:4])) as server, opened(server) as origin:
        got = await send(origin)
        assert isinstance(got, WholeAnswer)
        whole = got
        assert (whole.status, whole.body, whole.server) == (200, b"ab", server.url)
        assert list(whole.headers.items()) == [
            ("b", "1"),
            ("A", "two  words"),
            ("ETag", '"e"'),
            ("Stream-Next-Offset", "9"),
            ("Content-Length", "2"),
        ]
        assert whole.volatile == {"etag": '"e"', "stream-next-offset": "9", "content-length": "2"}
        assert (kept(origin), origin.requests.count) == (1, 0)


async def test_responses_that_differ_only_in_volatile_fields_share_their_stable_head() -> None:
    one = answer(b"ab", "A: 1", 'ETag: "e"', "Stream-Next-Offset: 9")
    alike = answer(b"abc", "A: 1", 'ETag: "f"', "Stream-Next-Offset: 10")
    others = [
        answer(b"ab", "A: 2", 'ETag: "e"', "Stream-Next-Offset: 9"),
        answer(b"ab", "A: 1", "Stream-Next-Offset: 9", 'ETag: "e"'),
        answer(b"ab", "A: 1", 'etag: "e"', "Stream-Next-Offset: 9"),
        answer(b"ab", "A: 1", "Stream-Next-Offset: 9"),
        answer(b"ab", "A: 1", 'ETag: "e"', "Stream-Next-Offset: 9", status="200 Fine"),
    ]
    heads = PlainHeads()
    stable = [
        read.kind.stable
        for wire in (one, alike, *others)
        if (read := heads.read(wire, is_head=False))
    ]
    assert stable[0] == stable[1] is not None
    assert len(set(stable)) == 1 + len(others)


def test_a_different_connection_field_makes_a_different_stable_head() -> None:
    close, more = (
        PlainHeads().read(answer(b"", f"Connection: {said}", "X-Hop: 1"), is_head=False)
        for said in ("close", "close, X-Hop")
    )
    assert close is not None
    assert more is not None
    assert close.kind.is_last
    assert more.kind.is_last
    assert close.kind.stable != more.kind.stable


@pytest.mark.parametrize("is_more", [False, True])
def test_a_response_head_is_read_as_plain_only_within_the_bounds_of_lines_and_bytes(
    is_more: bool,
) -> None:
    lines = [f"A{number}: x" for number in range(MOST_LINES - 1 + is_more)]
    assert (PlainHeads().read(answer(b"", *lines), is_head=False) is None) == is_more
    size = LONGEST_HEAD - len(answer(b"", "A: ")) + is_more
    assert (PlainHeads().read(answer(b"", f"A: {'x' * size}"), is_head=False) is None) == is_more


def test_cached_head_lines_are_dropped_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_head, "REMEMBERED", 5)
    heads = PlainHeads()
    for number in range(20):
        heads.read(answer(b"", f"A: {number}", status=f"200 {number}"), is_head=False)
        assert len(heads._lines) <= 5
        assert len(heads._statuses) <= 5
    heads.read(answer(b"", "B: " + "x" * 600, "Set-Cookie: a", "ETag: b"), is_head=False)
    assert not any(line.startswith((b"B", b"Set-Cookie", b"ETag")) for line in heads._lines)


@pytest.mark.parametrize("size", [GATHERED_BYTES, GATHERED_BYTES + 1])
async def test_a_body_that_comes_in_pieces_is_one_answer_only_up_to_gathered_bytes(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(raw_connection, "GATHERING_S", 60)
    steps = Steps(OK + b"Content-Length: %d\r\n\r\n" % size, bytes(size - 1), b"\0")
    async with RawOrigin(steps) as server, opened(server) as origin:
        steps.go()
        steps.go()
        got = await send(origin)
        assert isinstance(got, WholeAnswer) == (size <= GATHERED_BYTES)
        assert await got.read(size) == bytes(size)
        await until(lambda: kept(origin) == 1)


@pytest.mark.parametrize("pieces", [1, 2, 40])
async def test_a_gathered_chunked_response_has_a_content_length(
    monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    monkeypatch.setattr(raw_connection, "GATHERING_S", 60)
    coding = b"transfer-encoding: chunked\r\nETag: x\r\n\r\n"
    wire = OK + coding + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    begins = wire.index(b"2\r\n")
    size = -(-(len(wire) - begins) // pieces)
    parts = [wire[at : at + size] for at in range(begins, len(wire), size)]
    steps = Steps(wire[:begins] + parts[0], *parts[1:])
    async with RawOrigin(steps) as server, opened(server) as origin:
        for _ in parts[1:]:
            steps.go()
        got = await send(origin)
        assert isinstance(got, WholeAnswer)
        assert got.body == b"abc"
        assert list(got.headers.items()) == [("ETag", "x"), ("Content-Length", "3")]
        assert got.volatile == {"etag": "x", "content-length": "3"}
        assert (kept(origin), origin.requests.count) == (1, 0)


async def test_a_body_of_more_than_most_chunks_is_relayed_in_parts() -> None:
    wire = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    wire += b"1\r\nx\r\n" * (MOST_CHUNKS + 1) + b"0\r\n\r\n"
    async with RawOrigin(wire) as server, opened(server) as origin:
        got = await send(origin)
        assert not isinstance(got, WholeAnswer)
        assert await got.read(LIMIT) == b"x" * (MOST_CHUNKS + 1)


async def test_an_abandoned_request_ends_at_once() -> None:
    async with RawOrigin(answer(), silence) as server, opened(server) as origin:
        await ask(origin)
        asked = question(origin, PendingOriginAnswer())
        assert asked is not None
        assert origin.requests.count == 1
        asked.abandon()
        assert origin.requests.count == 0
        asked.abandon()
        assert origin.requests.count == 0
        await until(lambda: server.closed == 1)
        assert kept(origin) == 0


async def test_a_request_abandoned_while_its_response_is_parsed_ends() -> None:
    odd = Steps(b"HTTP/1.1 100 Continue\r\n\r\n")
    async with RawOrigin(answer(), odd) as server, opened(server) as origin:
        await ask(origin)
        waiting = PendingOriginAnswer()
        asked = question(origin, waiting)
        assert asked is not None
        await until(lambda: asked.task is not None)
        asked.abandon()
        await until(lambda: origin.requests.count == 0)
        await until(lambda: server.closed == 1)
        assert not waiting.done()


async def test_a_request_without_connection_slot_or_server_is_left_to_the_general_client() -> None:
    async with RawOrigin(answer(), silence) as server, opened(server, max_requests=1) as origin:
        assert question(origin, PendingOriginAnswer()) is None
        both = asyncio.Barrier(2)

        async def play(wire: Wire) -> None:
            await both.wait()
            await wire.send(answer())

        server.scripts = [play]
        polls = [asyncio.create_task(ask(origin, poll=True)) for _ in range(2)]
        await asyncio.gather(*polls)
        assert kept(origin) == 2
        server.scripts = [silence]
        first = question(origin, PendingOriginAnswer())
        assert first is not None
        assert question(origin, PendingOriginAnswer()) is None, "max_requests"
        assert (kept(origin), origin.requests.refused) == (1, 0)
        first.abandon()
        next(iter(origin.servers)).failed("is away")
        assert question(origin, PendingOriginAnswer()) is None


async def test_a_target_or_field_that_cannot_be_sent_raw_is_left_to_the_general_client() -> None:
    async with RawOrigin(answer()) as server, opened(server) as origin:
        await ask(origin)
        assert origin.raw is not None
        for rest in ("a#b", "a?", "a b", "a\r\nb", "é", 'a"'):
            assert (
                origin.raw.send("GET", f"{TARGET}/{rest}", b"", b"", PendingOriginAnswer()) is None
            )
        for field in (("Content-Length", "3"), ("Connection", "x"), ("A", "a\udce9b")):
            assert origin.raw.block(CIMultiDict([field])) is None


async def test_a_task_that_sends_on_a_reused_connection_gets_a_whole_response() -> None:
    async with RawOrigin(answer(b"ab")) as server, opened(server) as origin:
        fields: CIMultiDict[str] = CIMultiDict()
        first = await origin.send("GET", TARGET, fields)
        assert not isinstance(first, WholeAnswer), "no connection was kept"
        assert await first.read(LIMIT) == b"ab"
        got = await origin.send("GET", TARGET, fields)
        assert isinstance(got, WholeAnswer)
        assert [part async for part in got.parts()] == [b"ab"]
        assert await got.read(2) == b"ab"
        with pytest.raises(OriginBroken):
            await got.read(1)
        assert (kept(origin), origin.requests.count) == (1, 0)


async def test_a_response_that_begins_as_its_task_is_cancelled_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = Steps(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\n")
    async with RawOrigin(answer(), odd) as server, opened(server) as origin:
        await ask(origin)
        assert origin.raw is not None, "open"
        block = origin.raw.block(CIMultiDict())
        asked = ask_raw(origin.raw, "GET", TARGET, block, None)
        assert asked is not None, "a connection is kept"
        task = asyncio.create_task(answer_of(asked))
        began = PendingOriginAnswer.on_partial_answer

        def began_and_left(self: PendingOriginAnswer, answer: OriginAnswer) -> None:
            began(self, answer)
            task.cancel()  # before it is woken

        monkeypatch.setattr(PendingOriginAnswer, "on_partial_answer", began_and_left)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert origin.requests.count == 0
        await until(lambda: server.closed == 1)


async def test_closing_an_origin_ends_its_requests() -> None:
    async with RawOrigin(answer(), silence) as server:
        async with opened(server) as origin:
            await ask(origin)
            waiting = PendingOriginAnswer()
            assert question(origin, waiting) is not None
        assert not waiting.done()
        assert origin.requests.count == 0


async def test_a_response_before_the_request_was_sent_closes_the_connection() -> None:
    async def play(wire: Wire) -> None:
        await wire.send(answer(b"no", status="413 Too Large"))
        await asyncio.Event().wait()

    async with RawOrigin(answer(), play) as server, opened(server) as origin:
        await ask(origin)
        waiting = PendingOriginAnswer()
        assert question(origin, waiting, bytes(64 << 20)) is not None
        got = await waiting
        assert got.status == 413
        assert kept(origin) == 0
