"""What is refused at the door: the client gets to read why, however much it goes on sending."""

from __future__ import annotations

import asyncio

import pytest

from headgate_gateway.telemetry import logs
from headgate_gateway.web.connections import connection
from headgate_gateway.web.connections.connection import LINGER_BYTES
from headgate_gateway.web.connections.connection_state import LINGERING
from headgate_gateway.web.connections.parsing import FRAMING_BYTES, HEAD_BYTES
from headgate_gateway.web.requests.exchange import Exchange
from headgate_gateway.web.requests.request import Request
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import (
    EDGE,
    PREFIX,
    Serving,
    edge_serving,
    get,
    offset,
    post,
    put,
    serving,
)
from tests.support.waiting import until

HEAD = b"GET /v1/stream/s HTTP/1.1\r\nHost: x\r\nX: "


LINE = b"HEAD /v1/stream/s HTTP/1.1\r\nHost: x\r\n"
REFUSED_HEADS = {
    "a long header line": ([LINE + b"X: " + b"v" * 500_000], 431),
    "many header lines": ([LINE + b"X: v\r\n" * 5_000 + b"\r\n"], 431),
    "a long head": ([LINE, *[b"X-%d: %s\r\n" % (n, b"v" * 4_000) for n in range(9)]], 431),
    "two blanks": ([LINE.replace(b" /", b"  /") + b"\r\n"], 400),
    "no valid header": ([LINE, b"X Y\r\n\r\n"], 400),
    "empty lines before": ([b"\r\n\r\n" + LINE + b"X Y\r\n\r\n"], 400),
    "malformed chunks": ([LINE + b"Transfer-Encoding: chunked\r\n\r\nnone\r\n"], 400),
    "malformed chunks behind a head in parts": (
        [LINE, b"Transfer-Encoding: chunked\r\n\r\nnone\r\n"],
        400,
    ),
    "another version": ([LINE.replace(b"1.1", b"1.2") + b"\r\n"], 400),
}


@pytest.mark.parametrize("way", REFUSED_HEADS)
async def test_a_refused_head_is_answered_without_a_body(way: str) -> None:
    """RFC 9110 section 9.3.2."""
    parts, status = REFUSED_HEADS[way]
    async with serving() as gateway:
        client = await gateway.connect()
        for part in parts:
            client.send(part)
            await asyncio.sleep(0)
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert not body


async def test_a_refused_get_whose_head_comes_in_parts_is_answered_with_a_body() -> None:
    async with serving() as gateway:
        client = await gateway.connect()
        client.send(b"GET /v1/stream/s HTTP/1.1\r\nHost: x\r\nX: ")
        made = await _connection(gateway)
        await until(lambda: bool(made.requests.parser.part))
        client.send(b"HEAD \r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n")
        (await client.answer()).assert_problem(400)


CHUNKED = b"POST %s/s HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n" % PREFIX.encode()
CHUNKED += b"Transfer-Encoding: chunked\r\n\r\n"
LAST_OF_ITS_CONNECTION = {
    "the head is too long": (HEAD + b"v" * 500_000, 431, "LINGER_S"),
    "the body has ended, and more comes": (CHUNKED + b"1\r\nx\r\n0\r\n\r\n", 204, "LINGER_S"),
    "the body is too long": (
        CHUNKED + b"100000\r\n" + b"v" * 0x100000 + b"\r\n1\r\nx\r\n",
        413,
        "LINGER_BODY_S",
    ),
    "the body is no HTTP": (CHUNKED + b"1\r\nxx\r\n", 400, "LINGER_S"),
}


@pytest.mark.parametrize("way", LAST_OF_ITS_CONNECTION)
async def test_the_last_response_is_readable_while_the_client_sends_on(way: str) -> None:
    """What comes to a closed socket resets the connection, and takes the response with it."""
    sent, status, _ = LAST_OF_ITS_CONNECTION[way]
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await until(lambda: not gateway.server.connections)
        client = await gateway.connect()
        client.pause()
        client.send(sent)
        made = await _connection(gateway)
        await until(lambda: made.state is LINGERING)
        client.send(b"v" * 500_000)
        await until(lambda: made._may_drop < LINGER_BYTES)
        client.resume()
        assert (await client.answer()).status == status
        assert await client.rest() == b""
        client.close()
        await until(lambda: not gateway.limits.connections)


@pytest.mark.parametrize("more", [0, 1])
async def test_bytes_after_the_last_response_are_bounded(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LINGER_BYTES", 1000)
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await until(lambda: not gateway.server.connections)
        client = await gateway.connect()
        client.send(CHUNKED + b"1\r\nx\r\n0\r\n\r\n")
        made = await _connection(gateway)
        await until(lambda: made.state is LINGERING)
        client.send(b"v" * (1000 + more))
        await until(lambda: made._may_drop == -more)
        assert (made.transport is None) is bool(more)
        assert (await client.answer()).status == 204


@pytest.mark.parametrize("way", LAST_OF_ITS_CONNECTION)
async def test_a_connection_lingers_longer_after_a_refused_body_than_after_a_complete_one(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, status, limit = LAST_OF_ITS_CONNECTION[way]
    for name in ("LINGER_S", "LINGER_BODY_S"):
        monkeypatch.setattr(connection, name, 0.05 if name == limit else 600.0)
    async with serving() as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        client.send(sent)
        assert (await client.answer()).status == status
        await until(lambda: not gateway.limits.connections)


async def _connection(gateway: Serving) -> connection.Connection:
    await until(lambda: bool(gateway.server.connections))
    (made,) = gateway.server.connections
    assert isinstance(made, connection.Connection)
    return made


@pytest.mark.parametrize(("more", "status"), [(0, 404), (1, 431)])
async def test_a_head_sent_in_parts_is_bounded(more: int, status: int) -> None:
    """Each is kept as parsed lines until it is whole, by however many clients."""
    async with serving() as gateway:
        client = await gateway.connect()
        head = b"GET /v1/stream/s HTTP/1.1\r\nHost: x\r\n"
        head += b"".join(b"X-%d: %s\r\n" % (n, b"v" * 4000) for n in range(8))
        head += b"Y: " + b"v" * (HEAD_BYTES + more - len(head) - 3)
        client.send(head)
        made = await _connection(gateway)
        await until(lambda: len(made.requests.parser.part) == len(head))
        if status != 431:
            client.send(b"\r\n\r\n")
        assert (await client.answer()).status == status


async def test_the_head_limit_counts_each_head_separately() -> None:
    async with serving() as gateway:
        client = await gateway.connect()
        made = await _connection(gateway)
        part = HEAD + b"v" * 8000 + b"\r\nY: " + b"v" * 8000
        for _ in range(3):
            client.send(part)
            await until(lambda: len(made.requests.parser.part) == len(part))
            client.send(b"\r\n\r\n")
            assert (await client.answer()).status == 404


CANARY = b"canary-0123456789abcdef"
MALFORMED = {
    "a blank before the colon": b"GET /s HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer %s\r\n\r\n",
    "a folded line": b"GET /s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\n %s\r\n\r\n",
    "a control character": b"GET /s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\x01\r\n\r\n",
    "no colon": b"GET /s HTTP/1.1\r\nHost: x\r\nAuthorization Bearer %s\r\n\r\n",
    "a method nobody knows": b"BAN /s?token=%s HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in small letters": b"get /s?token=%s HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version nobody knows": b"GET /s?token=%s HTTP/9.9\r\nHost: x\r\n\r\n",
    "no version": b"GET /s?token=%s\r\nHost: x\r\n\r\n",
    "a target that is no URL": b"GET http://[::1?token=%s HTTP/1.1\r\nHost: x\r\n\r\n",
    "two hosts": b"GET /s?token=%s HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "two lengths": b"POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n"
    b"Authorization: Bearer %s\r\n\r\n",
    "a length that is no number": b"POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n",
    "a chunk without a size": b"POST /v1/stream/s HTTP/1.1\r\nHost: x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n%s\r\n\r\n",
}


@pytest.mark.parametrize("fault", MALFORMED)
async def test_malformed_http_is_refused_without_quoting_it(fault: str) -> None:
    """Among it could be a token, or, behind a proxy, the next request of somebody else."""
    async with serving() as gateway:
        client = await gateway.connect()
        answer = await client.ask(MALFORMED[fault].replace(b"%s", CANARY))
        answer.assert_problem(400)
        assert CANARY not in answer.wire
        detail = answer.json()["detail"]
        assert len(detail) > len("not valid HTTP: "), answer


ONCE = {
    "Producer-Id": ("p", "q"),
    "Producer-Epoch": ("0", "1"),
    "Producer-Seq": ("0", "1"),
    "Stream-Seq": ("a", "b"),
    "Stream-Closed": ("false", "true"),
    "Stream-TTL": ("60", "61"),
    "Stream-Expires-At": ("2030-01-31T12:00:00Z", "2031-01-31T12:00:00Z"),
    "Stream-Forked-From": ("/v1/stream/s", "/v1/stream/t"),
    "Stream-Fork-Offset": ("-1", offset(1)),
    "Stream-Fork-Sub-Offset": ("0", "1"),
    "X-Stream-Multi": ("true", "false"),
    "Last-Event-ID": (offset(0), offset(1)),
    "Origin": ("https://a.example", "https://b.example"),
}


@pytest.mark.parametrize("prefix", [PREFIX, EDGE])
@pytest.mark.parametrize("name", ONCE)
async def test_a_repeated_single_value_field_is_refused(name: str, prefix: str) -> None:
    """Who reads it otherwise would take the other one (RFC 9110 section 5.3)."""
    one, other = ONCE[name]
    stamp = [f"{key}: {ONCE[key][0]}" for key in ("Producer-Id", "Producer-Epoch", "Producer-Seq")]
    twice = [
        (f"{name}: {one}", f"{name}: {other}"),
        (f"{name}: {one}", f"{name}: {one}"),
        (f"{name}: {one}", f"{name.lower()}: {other}"),
        (f"{name}:{one}", "X-Between: 1", f"{name}: {other}"),
    ]
    async with RawOrigin(answer(b"x")) as raw, edge_serving(raw) as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        target = f"{prefix}/s"
        for lines in twice:
            given = [line for line in stamp if not line.startswith(f"{name}:")]
            for _ in range(2):  # also where the lines around them have been seen before
                if prefix == PREFIX:
                    assert (await client.ask(post(target, b"x"))).status == 204
                refused = await client.ask(post(target, b"x", *given, *lines))
                refused.assert_problem(400)
                assert f"{name} is given more than once".encode() in refused.body
                refused = await client.ask(get(f"{target}?offset=-1", *lines))
                refused.assert_problem(400)
        assert raw.heard == []
        assert (await gateway.ask(get("s?offset=-1"))).body == b"x" * 8 * (prefix == PREFIX)


SPOILT = [
    pytest.param("\r\nzz\r\n\r\n", id="a-size-that-is-no-number"),
    pytest.param("\r\n+3\r\n", id="a-plus-before-the-size"),
    pytest.param("\r\n0\r\nX\r\n\r\n", id="a-trailer-without-a-colon"),
    pytest.param("\r\n3 ;a=b\r\n", id="a-blank-before-an-extension"),
    pytest.param("\r\n0\n\n", id="an-end-with-lf"),
]


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_malformed_bytes_after_a_chunk_are_refused_at_once(spoilt: str) -> None:
    """Who waits for more is woken for the end of the chunk, and finds nothing."""
    async with serving(body_timeout=600) as gateway:
        await gateway.ask(put("s"))
        await until(lambda: not gateway.server.connections)
        client = await gateway.connect()
        client.send(CHUNKED + b"3\r\nabc")
        made = await _connection(gateway)
        await until(
            lambda: made.requests.parser.body is not None and not made.requests.parser.body._buffer
        )  # it was taken
        client.send(spoilt.encode())
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        assert (await gateway.ask(get("s?offset=-1"))).body == b""


CHUNKS = CHUNKED + b"1\r\nx\r\n"
ENDLESS = {
    "an extension": CHUNKS + b"1;a=",
    "extensions": CHUNKS + b"1" + b";a=b" * 100,
    "zeros": CHUNKS + b"0",
    "a trailer": CHUNKS + b"0\r\nX: ",
    "trailers": CHUNKS + b"0\r\n" + b"X: a\r\n" * 100 + b"X: ",
    "the first extension": CHUNKED + b"1;a=",
    "of a stream that is not there": CHUNKS.replace(b"/s ", b"/t ") + b"1;a=",
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_bytes_between_chunks_are_bounded(kind: str) -> None:
    """It says nothing, and would be read for as long as the body may take."""
    async with serving() as gateway:
        await gateway.ask(put("s"))
        for at_once in (True, False):
            client = await gateway.connect()
            if at_once:
                client.send(ENDLESS[kind] + b"0" * (FRAMING_BYTES + 100))
            else:
                client.send(ENDLESS[kind])
                for _ in range(18):
                    client.send(b"0" * 1000)
                    await asyncio.sleep(0)
            assert (await client.answer()).status in {400, 404 if "not there" in kind else 431}
            assert await client.rest() == b""
        assert (await gateway.ask(get("s?offset=-1"))).body == b""


@pytest.mark.parametrize(("more", "status"), [(0, 204), (1, 400)])
async def test_bytes_between_chunks_are_accepted_up_to_a_limit(more: int, status: int) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await until(lambda: not gateway.server.connections)
        client = await gateway.connect()
        size = FRAMING_BYTES + 33 * 2 - len(b"1\r\nx\r\n1;=\r\nx") + more
        client.send(CHUNKED + b"1\r\nx\r\n1;=" + b"a" * size + b"\r\nx")
        if status != 400:
            made = await _connection(gateway)
            await until(lambda: made.requests.parser._fed == FRAMING_BYTES + 33 * 2)
            client.send(b"\r\n0\r\n\r\n")
        assert (await client.answer()).status == status


async def test_small_chunks_and_large_chunks_do_not_count_as_bytes_between_chunks() -> None:
    async with serving(max_append=4 << 20) as gateway:
        await gateway.ask(put("s"))
        for data in (b"01\r\nx\r\n" * 50_000, b"100000\r\n" + b"x" * 0x100000 + b"\r\n"):
            client = await gateway.connect()
            client.send(CHUNKED + data + b"0\r\n\r\n")
            assert (await client.answer()).status == 204


@pytest.mark.parametrize("failing", ["begin", "finish"])
async def test_a_write_whose_accounting_raises_is_logged_and_its_connection_closed(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[BaseException] = []

    def fail(*_: object, **_more: object) -> None:
        raise KeyError(failing)

    def note(_: str, exc_info: BaseException) -> None:
        logged.append(exc_info)

    async with serving() as gateway:
        await gateway.ask(put("s"))
        monkeypatch.setattr(logs.log, "error", note)
        monkeypatch.setattr(Request if failing == "begin" else Exchange, failing, fail)
        client = await gateway.connect()
        client.send(put("n"))
        wire = await client.rest()
        assert wire.count(b"HTTP/1.1 ") == (failing == "finish")
        assert [error.args for error in logged] == [(failing,)]
