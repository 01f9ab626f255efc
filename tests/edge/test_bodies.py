"""Bodies on their way through the gateway: as they come, both ways, however long they are."""

from __future__ import annotations

import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.edge.echo_origin import Echo
from tests.support.raw_origin import RawOrigin, Steps, Wire, answer, close
from tests.support.serving import EDGE, edge_serving, get, request
from tests.support.waiting import at_rest, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http1 import Client

S = f"{EDGE}/s"
MINUTE = "Cache-Control: max-age=60"
MB = 1 << 20


def upload(*lines: str) -> bytes:
    return "\r\n".join([f"POST {S} HTTP/1.1", "Host: headgate.test", *lines, "", ""]).encode()


async def test_a_response_is_passed_on_piece_by_piece_while_the_origin_sends() -> None:
    steps = Steps(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab", b"cd", b"ef")
    async with RawOrigin(steps) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(get(S))
        head = await client.answer(to_head=True)
        assert head.get("Content-Length") == "6"
        for piece in (b"ab", b"cd", b"ef"):
            assert await client.read_until(piece) == piece
            steps.go()


async def test_response_chunks_are_passed_on_while_the_origin_sends() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    steps = Steps(head + b"2\r\nab\r\n", b"2\r\ncd\r\n", b"0\r\nX-Trailer: 1\r\n\r\n")
    async with RawOrigin(steps) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(get(S))
        got = await client.answer()
        assert (got.get("Transfer-Encoding"), got.get("Content-Length")) == ("chunked", None)
        assert await client.chunk() == b"ab"
        steps.go()
        assert await client.chunk() == b"cd"
        steps.go()
        assert await client.chunks() == []
        raw.scripts = [answer(b"next")]
        assert (await client.ask(get(f"{S}2"))).body == b"next"


async def test_an_upload_is_passed_on_piece_by_piece_while_the_client_sends() -> None:
    received: list[bytes] = []

    async def play(wire: Wire) -> None:
        for _ in range(3):
            received.append(await wire.read(2))
        await wire.send(answer(b"thanks"))

    async with RawOrigin(play) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(upload("Content-Length: 6"))
        for number, piece in enumerate((b"ab", b"cd", b"ef"), start=1):
            client.send(piece)
            await until(lambda: len(received) == number)  # noqa: B023 - waited for right here
        assert (await client.answer()).body == b"thanks"
        assert received == [b"ab", b"cd", b"ef"]


async def test_an_upload_in_chunks_is_passed_on_in_chunks() -> None:
    async with Echo() as raw, edge_serving(raw) as gateway:
        head = upload("Transfer-Encoding: chunked")
        client = await gateway.connect()
        client.send(head + b"3\r\nabc\r\n")
        await until(lambda: bool(raw.heard))
        client.send(b"2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n")
        got = await client.answer()
        assert got.status == 200
        assert "Transfer-Encoding: chunked" in raw.heard[0].fields
        assert not any(field.startswith("Content-Length") for field in raw.heard[0].fields)
        parts = raw.bodies[0].split(b"\r\n")
        assert b"".join(parts[1:-3:2]) == b"abcde"


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MB


async def test_a_long_upload_takes_little_memory() -> None:
    size = 24 * MB

    async def play(wire: Wire) -> None:
        left = size
        while left:
            left -= len(await wire.read(min(left, 65536)))
        await wire.send(answer(b"thanks"))

    async with RawOrigin(play) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(upload(f"Content-Length: {size}"))
        piece = b"x" * 65536
        with little_memory():
            for _ in range(size // len(piece)):
                await client.send_all(piece)
            assert (await client.answer()).status == 200


class Long:
    """Sends a long answer as fast as it is taken."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = 0

    async def __call__(self, wire: Wire) -> None:
        await wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {self.size}\r\n\r\n".encode())
        piece = b"x" * 65536
        while self.sent < self.size and not wire.is_closing():
            await wire.send(piece)
            self.sent += len(piece)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_long_download_takes_little_memory(method: str) -> None:
    size = 24 * MB
    async with RawOrigin(Long(size)) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        with little_memory():
            client.send(request(method, S))
            await client.answer(to_head=True)
            left = size
            while left:
                part = await client.part()
                assert part, "it was cut short"
                left -= len(part)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_slow_client_slows_the_origin_down(method: str) -> None:
    long = Long(200 * MB)
    async with RawOrigin(long) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(request(method, S))
        await until(lambda: long.sent > 0)
        client.pause()
        assert await at_rest(lambda: long.sent) < 32 * MB


async def test_a_response_cut_by_the_origin_resets_an_http_1_0_connection() -> None:
    cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"
    steps = Steps(cut.encode(), then=close)
    async with RawOrigin(steps) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(request("GET", S, version="1.0"))
        await client.read_until(b"\r\n\r\nabcd")
        steps.go()
        with pytest.raises(ConnectionResetError):
            await client.rest()


@pytest.mark.parametrize("ends", [True, False])
async def test_a_response_that_arrives_before_the_upload_ends_is_passed_on(ends: bool) -> None:
    async def refuse(wire: Wire) -> None:
        await wire.send(answer(b"too large", status="413 Content Too Large"))
        if ends:
            await wire.close()
        else:
            await wire.rest()

    async with RawOrigin(refuse) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(upload("Content-Length: 10000000") + b"begin")
        got = await client.answer()
        assert (got.status, got.body) == (413, b"too large")
        assert got.get("X-Cache") == "BYPASS"


async def test_a_client_with_expect_100_continue_gets_a_100_before_its_body() -> None:
    async with Echo() as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(upload("Expect: 100-continue", "Content-Length: 4"))
        assert (await client.answer()).status == 100
        client.send(b"data")
        got = await client.answer()
        assert (got.status, got.body) == (200, b"data")
        assert not any(field.startswith("Expect") for field in raw.heard[0].fields)


async def to_the_end(client: Client, wire: bytes) -> tuple[bytes, bytes]:
    """Head and body of an answer that ends with its connection."""
    client.send(wire)
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("lines", [[], ["Connection: keep-alive"]])
async def test_a_client_of_http_1_0_gets_no_chunks(lines: list[str]) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    steps = Steps(head + b"2\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n")
    async with RawOrigin(steps) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(request("GET", S, *lines, version="1.0"))
        got = await client.head()
        steps.go()
        assert await client.rest() == b"abcd"
        assert got.get("Transfer-Encoding") is None
        assert got.get("Connection") != "keep-alive"


async def test_a_complete_chunked_response_goes_to_http_1_0_with_its_content_length() -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
    async with RawOrigin(answer(b""), chunks) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        await client.ask(request("GET", S))  # a connection to the origin is kept since
        got = await client.ask(request("GET", S, "Connection: keep-alive", version="1.0"))
        assert (got.body, got.get("Content-Length")) == (b"abcd", "4")
        assert got.get("Connection") == "keep-alive"


@pytest.mark.parametrize("field", [MINUTE, "Cache-Control: no-store"])
async def test_an_http_1_0_connection_is_kept_alive_if_the_response_length_is_known(
    field: str,
) -> None:
    async with RawOrigin(answer(b"data", field)) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        for _ in range(3):
            got = await client.ask(request("GET", S, "Connection: keep-alive", version="1.0"))
            assert (got.body, got.get("Connection")) == (b"data", "keep-alive")
        head, body = await to_the_end(client, request("GET", S, version="1.0"))
        assert body == b"data"
        assert b"Connection: close" in head


async def test_an_http_1_0_upload_is_forwarded_as_http_1_1() -> None:
    async with Echo() as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        _, body = await to_the_end(client, request("POST", S, body=b"data", version="1.0"))
        assert body == b"data"
        assert raw.heard[0].line.endswith("HTTP/1.1")
