from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import LimitReached, OriginBroken, OriginTimeout
from tests.origin.opening import LIMIT, TARGET, ask, opened, send
from tests.support.origin_connections import idle_count
from tests.support.raw_origin import RawOrigin, Steps, answer, close, reset, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.raw_origin import Play, Wire

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HEAD_BYTES = 65536


async def then_close(wire: Wire, data: bytes) -> None:
    await wire.send(data)
    await wire.close()


async def test_a_response_is_returned_with_its_fields_and_body_unchanged() -> None:
    packed = gzip.compress(b"text")
    fields = ["b: 1", "A:  two  words ", "b: 3", "Set-Cookie: x", "Content-Encoding: gzip"]
    sent = answer(packed, *fields, status="299 Fine, thanks")
    async with RawOrigin(sent) as server, opened(server) as origin:
        got = await send(origin)
        assert (got.status, got.server) == (299, server.url)
        assert list(got.headers.items()) == [
            ("b", "1"),
            ("A", "two  words"),
            ("b", "3"),
            ("Set-Cookie", "x"),
            ("Content-Encoding", "gzip"),
            ("Content-Length", str(len(packed))),
        ]
        assert await got.read(LIMIT) == packed


async def test_a_redirect_of_the_origin_is_returned_and_not_followed() -> None:
    moved = answer(b"", "Location: /elsewhere", status="307 Temporary Redirect")
    async with RawOrigin(moved) as server, opened(server) as origin:
        assert (await ask(origin)).status == 307
        assert server.lines() == [f"GET {TARGET}"]


async def test_informational_responses_are_skipped() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    sent = hints + b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"done")
    async with RawOrigin(sent) as server, opened(server) as origin:
        assert await ask(origin) == (200, b"done")


@pytest.mark.parametrize(
    ("method", "sent", "by_length"),
    [
        pytest.param("GET", answer(b"ab"), True, id="a-length"),
        pytest.param("GET", CHUNKED + b"2\r\nab\r\n0\r\n\r\n", True, id="chunks"),
        pytest.param(
            "GET",
            CHUNKED + b"1;x=y\r\na\r\n1\r\nb\r\n0\r\nTrailer: z\r\n\r\n",
            True,
            id="chunks-with-an-extension-and-a-trailer",
        ),
        pytest.param("GET", OK + b"\r\nab", False, id="neither-length-nor-chunks"),
        pytest.param("GET", b"HTTP/1.0 200 OK\r\n\r\nab", False, id="http-1-0"),
        pytest.param("GET", OK + b"Connection: close\r\n\r\nab", False, id="connection-close"),
        pytest.param("HEAD", OK + b"\r\n", True, id="a-head-response-without-a-length"),
        pytest.param(
            "HEAD", OK + b"Content-Length: 2\r\n\r\n", True, id="a-head-response-with-a-length"
        ),
        pytest.param("GET", b"HTTP/1.1 204 No Content\r\n\r\n", True, id="a-204"),
        pytest.param(
            "GET",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
            True,
            id="a-304-with-a-length",
        ),
    ],
)
async def test_the_end_of_a_body_is_found_by_length_chunks_or_connection_end(
    method: str, sent: bytes, by_length: bool
) -> None:
    """A connection after whose answer nothing can follow is used again."""
    has_body = method == "GET" and b" 200 " in sent

    async def play(wire: Wire) -> None:
        await wire.send(sent)
        if not by_length:
            await wire.close()

    async with RawOrigin(play) as server, opened(server) as origin:
        for _ in range(3):
            got = await send(origin, method)
            assert got.complete_by_length == by_length
            assert await got.read(2) == (b"ab" if has_body else b"")
            got.release()
        if has_body:
            connections = [1, 1, 1] if by_length else [1, 2, 3]
            assert [heard.connection for heard in server.heard] == connections


async def test_body_parts_are_returned_as_they_arrive() -> None:
    steps = Steps(CHUNKED + b"1\r\na\r\n", b"2\r\nbc\r\n", b"0\r\n\r\n")
    async with RawOrigin(steps) as server, opened(server) as origin:
        got = []
        async for part in (await send(origin)).parts():
            got.append(part)
            steps.go()
        assert got == [b"a", b"bc"]


async def test_a_connection_with_unread_bytes_of_an_answer_is_closed() -> None:
    unfinished = Steps(OK + b"Content-Length: 9\r\n\r\nab", b"")
    async with RawOrigin(unfinished, answer(b"next")) as server, opened(server) as origin:
        got = await send(origin)
        got.release()
        got.release()
        assert (await ask(origin)).body == b"next"
        assert [heard.connection for heard in server.heard] == [1, 2]


async def test_an_idle_origin_connection_is_closed_after_keep_alive_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headgate_gateway.origin.reuse.KEEP_ALIVE_S", 0.05)
    async with RawOrigin(answer()) as server, opened(server) as origin:
        await ask(origin)
        await until(lambda: server.closed == 1)
        await ask(origin)
        assert server.connections == 2


FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


@pytest.mark.parametrize(
    "extra",
    [
        b"more",
        pytest.param(FORGED, id="a-whole-response"),
        pytest.param(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", id="a-408"),
        b"HT",
        pytest.param(b"\r\n", id="a-line-end"),
    ],
)
async def test_bytes_behind_a_response_are_not_used_as_the_next_response(extra: bytes) -> None:
    steps = Steps(answer(b"ok"), extra)
    async with RawOrigin(steps, answer(b"second")) as server, opened(server) as origin:
        assert (await ask(origin)).body == b"ok"
        steps.go()
        # That it was sent does not say that it has come: before, nobody can tell it from an answer.
        await until(lambda: not idle_count(origin))
        assert (await ask(origin)).body == b"second"
        assert [heard.connection for heard in server.heard] == [1, 2]


async def test_bytes_in_the_packet_of_a_response_are_not_used_as_the_next_response() -> None:
    async with RawOrigin(answer(b"ok") + FORGED, answer(b"second")) as server:
        async with opened(server) as origin:
            assert [(await ask(origin)).body for _ in range(2)] == [b"ok", b"second"]
        assert server.connections == 2
    scripts = (answer(b"ok") + b"more", answer(b"second"))
    async with RawOrigin(*scripts) as server, opened(server) as origin:
        with pytest.raises(OriginBroken):
            await ask(origin, "POST")
        assert (await ask(origin)).body == b"second"


BAD_HEADS = {
    "no HTTP": b"hello\r\n\r\n",
    "no version": b"200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no head": b"<html>ok</html>",
    "TLS": b"\x15\x03\x03\x00\x02\x02\x46" + bytes(30),
    "zeros": bytes(10_000),
    "half a status line": b"HTTP/1.1 20",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status of two digits": b"HTTP/1.1 99 Less\r\nContent-Length: 2\r\n\r\nok",
    "a negative status": b"HTTP/1.1 -200 Minus\r\nContent-Length: 2\r\n\r\nok",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 0": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 2\r\n" + CHUNKED[17:] + b"2\r\nok\r\n0\r\n\r\n",
    "chunks and length": CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": OK + b"Content-Length: 2, 2\r\n\r\nok",
    "a length in words": OK + b"Content-Length: two\r\n\r\nok",
    "a negative length": OK + b"Content-Length: -2\r\n\r\nok",
    "a signed length": OK + b"Content-Length: +2\r\n\r\nok",
    "a coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: identity\r\n\r\nok",
    "chunks twice": OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"2\r\nok\r\n0\r\n\r\n",
    "NUL": OK + b"A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "CR": OK + b"A: b\rc\r\nContent-Length: 0\r\n\r\n",
    "a control": OK + b"A: b\x1bc\r\nContent-Length: 0\r\n\r\n",
    "DEL": OK + b"A: b\x7fc\r\nContent-Length: 0\r\n\r\n",
    "a name with a space": OK + b"A : b\r\nContent-Length: 0\r\n\r\n",
    "a header without a colon": OK + b"A\r\nContent-Length: 0\r\n\r\n",
    "a header without a name": OK + b": b\r\nContent-Length: 0\r\n\r\n",
    "a long header": OK + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
    "a long status line": b"HTTP/1.1 200 " + b"b" * 100_000 + b"\r\n\r\n",
    "many headers": OK + b"A: b\r\n" * 20_000 + b"\r\n",
    "nothing": b"",
    "half a head": OK + b"A: b",
}


@pytest.mark.parametrize("sent", BAD_HEADS.values(), ids=BAD_HEADS)
async def test_a_malformed_response_is_an_origin_broken_error(sent: bytes) -> None:
    scripts = (lambda wire: then_close(wire, sent), answer(b"fine"))
    async with RawOrigin(*scripts) as server, opened(server) as origin:
        with pytest.raises(OriginBroken, match=r"^(what )?the origin"):
            await ask(origin, "POST")
        assert await ask(origin) == (200, b"fine")


def head_of(size: int) -> bytes:
    """A head whose status line and headers have so many bytes."""
    fixed = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    lines = [f"A{number}: " for number in range(20)]
    room = size - len(fixed) - sum(len(line) + 2 for line in lines)
    lines = [line + "x" * (room // len(lines)) for line in lines]
    lines[0] += "x" * (room % len(lines))
    head = fixed + "".join(f"{line}\r\n" for line in lines)
    assert len(head) == size
    return f"{head}\r\n".encode()


async def test_a_response_head_is_accepted_up_to_the_limit() -> None:
    scripts = [head_of(HEAD_BYTES + more) for more in (-1, 0, 1)]
    async with RawOrigin(*scripts) as server, opened(server) as origin:
        for _ in range(2):
            assert (await ask(origin)).status == 200
        with pytest.raises(OriginBroken, match="its head is over 65536 bytes"):
            await ask(origin)


BROKEN_BODIES = {
    "too short": (OK + b"Content-Length: 3\r\n\r\na", b"b", close),
    "reset by length": (OK + b"Content-Length: 3\r\n\r\na", b"b", reset),
    "chunks cut": (CHUNKED + b"1\r\na\r\n", b"5\r\nb", close),
    "chunks reset": (CHUNKED + b"1\r\na\r\n", b"5\r\nb", reset),
    "no last chunk": (CHUNKED + b"1\r\na\r\n", b"1\r\nb\r\n", close),
    "reset without a length": (OK + b"\r\na", b"b", reset),
    "a bad chunk": (CHUNKED + b"1\r\na\r\n", b"zz\r\nb\r\n", silence),
    "a chunk without its end": (CHUNKED + b"1\r\na\r\n", b"1\r\nbb", silence),
    "a huge chunk": (CHUNKED + b"1\r\na\r\n", b"f" * 17 + b"\r\n", silence),
}


@pytest.mark.parametrize(("head", "more", "end"), BROKEN_BODIES.values(), ids=BROKEN_BODIES)
async def test_a_body_that_breaks_off_is_reported_as_cut_short(
    head: bytes, more: bytes, end: Play
) -> None:
    steps = Steps(head, more, then=end)
    async with RawOrigin(steps) as server, opened(server) as origin:
        parts = (await send(origin)).parts()
        assert await anext(parts) == b"a"
        steps.go()
        steps.go()
        with pytest.raises(OriginBroken, match="the origin's answer was cut short"):
            assert [part async for part in parts] in ([], [b"b"])


async def test_an_origin_answer_over_the_limit_raises_origin_broken() -> None:
    async with RawOrigin(answer(b"abc")) as server, opened(server) as origin:
        assert await (await send(origin)).read(3) == b"abc"
        with pytest.raises(OriginBroken, match="the origin's answer is over 2 bytes"):
            await (await send(origin)).read(2)


@pytest.mark.parametrize("begun", [b"", pytest.param(b"HTTP/1.1 200 OK\r\nA: ", id="half-a-head")])
async def test_a_response_head_that_does_not_arrive_times_out(begun: bytes) -> None:
    async def play(wire: Wire) -> None:
        await wire.send(begun)
        await wire.rest()

    async with RawOrigin(play) as server, opened(server, response_timeout=0.1) as origin:
        with pytest.raises(OriginTimeout, match=r"^the origin did not answer within 0\.1 s$"):
            await ask(origin)
        await until(lambda: server.closed == 1)
        assert len(server.heard) == 1


async def test_a_response_head_that_arrives_in_drops_times_out() -> None:
    async def drip(wire: Wire) -> None:
        while not wire.is_closing():
            await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.01)  # its slowness is what is tested

    async with RawOrigin(drip) as server, opened(server, response_timeout=0.2) as origin:
        with pytest.raises(OriginTimeout):
            await ask(origin)


async def test_a_poll_has_a_timeout_of_its_own() -> None:
    async def late(wire: Wire) -> None:
        await asyncio.sleep(0.2)  # its slowness is what is tested
        await wire.send(answer(b"late"))

    times = {"response_timeout": 0.05, "poll_timeout": 20}
    async with RawOrigin(late) as server, opened(server, **times) as origin:
        assert (await ask(origin, poll=True)).body == b"late"


async def test_a_body_that_stalls_times_out() -> None:
    stalling = Steps(OK + b"Content-Length: 3\r\n\r\na", then=silence)
    stalling.go()
    async with RawOrigin(stalling) as server, opened(server, read_timeout=0.1) as origin:
        parts = (await send(origin)).parts()
        assert await anext(parts) == b"a"
        with pytest.raises(OriginTimeout, match=r"the origin sent no more .* for 0\.1 s"):
            await anext(parts)
        await until(lambda: server.closed == 1)


async def test_requests_over_max_requests_are_refused_and_polls_do_not_count() -> None:
    async with RawOrigin(silence) as server, opened(server, max_requests=2) as origin:
        waiting = [asyncio.create_task(ask(origin)) for _ in range(2)]
        polls = [asyncio.create_task(ask(origin, poll=True)) for _ in range(2)]
        await until(lambda: len(server.heard) == 4)
        with pytest.raises(LimitReached, match="max_origin_requests, 2"):
            await ask(origin)
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        waiting.append(asyncio.create_task(ask(origin)))
        await until(lambda: len(server.heard) == 5)
        for task in [*waiting, *polls]:
            task.cancel()
        await asyncio.wait([*waiting, *polls])


@pytest.mark.parametrize("way", ["read", "parts", "release"])
async def test_a_request_counts_until_its_body_is_read_or_released(way: str) -> None:
    steps = Steps(OK + b"Content-Length: 2\r\n\r\na", b"b")
    async with RawOrigin(steps, answer()) as server, opened(server, max_requests=1) as origin:
        got = await send(origin)
        with pytest.raises(LimitReached):
            await send(origin)
        steps.go()
        if way == "read":
            assert await got.read(2) == b"ab"
        elif way == "parts":
            assert b"".join([part async for part in got.parts()]) == b"ab"
        got.release()
        got.release()
        for _ in range(2):  # a whole answer counts no longer
            assert (await send(origin)).status == 200


@pytest.mark.parametrize("script", [close, pytest.param(answer(b"abc"), id="a-response")])
async def test_a_request_that_failed_frees_its_place_under_max_requests(
    script: Play | bytes,
) -> None:
    async with RawOrigin(script) as server, opened(server, max_requests=1) as origin:
        for _ in range(2):
            with pytest.raises(OriginBroken):
                await (await send(origin, "POST")).read(2)
