"""Requests whose fields came before mean what they mean when they are parsed."""

from __future__ import annotations

import pytest

from gateway.web import request_block
from gateway.web.connection import Connection
from gateway.web.request_block import LONGEST
from tests.support.raw_origin import RawOrigin, answer
from tests.support.waiting import until
from tests.web.serving import EDGE, edge_serving, get, post, put, request, serving

TEXT = "Content-Type: text/plain"


async def test_what_came_before_is_not_parsed_again_whatever_its_target_and_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[bytes] = []
    parse = Connection._parse

    def noting(self: Connection, data: bytes) -> None:
        parsed.append(data)
        parse(self, data)

    monkeypatch.setattr(Connection, "_parse", noting)
    async with serving() as gateway:
        for name in ("a", "b"):
            await gateway.ask(put(name))
        client = await gateway.connect()
        await client.ask(post("a", b"one"))
        parsed.clear()
        assert (await client.ask(post("b", b"two"))).status == 204
        assert parsed == []
        assert (await gateway.ask(get("b?offset=-1"))).body == b"two"


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer a",
        "Cookie: a=b",
        "X-Api-Key: a",
        "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Producer-Seq: 1",
        "X-Request-Id: a",
        "Expect: 100-continue",
        "Connection: close",
        f"X-Long: {'x' * LONGEST}",
    ],
)
async def test_what_is_a_secret_or_seldom_comes_again_is_not_remembered(line: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("a"))
        client = await gateway.connect()
        before = len(gateway.fast.blocks)
        client.send(post("a", b"one", line))
        while (await client.head()).status == 100:
            pass
        assert len(gateway.fast.blocks) == before
        client.close()
        await gateway.ask(post("a", b"one"))
        assert len(gateway.fast.blocks) == before + 1


async def test_blocks_are_forgotten_before_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_block, "REMEMBERED", 3)
    async with serving() as gateway:
        await gateway.ask(put("a"))
        client = await gateway.connect()
        for number in range(8):
            assert (await client.ask(post("a", b"x", f"A: {number}"))).status == 204
            assert 0 < len(gateway.fast.blocks) <= 3


@pytest.mark.parametrize(
    "wire",
    [
        b"POST //a HTTP/1.1\r\n",
        b"POST /v1/stream/a#b HTTP/1.1\r\n",
        b"POST http://headgate.test/v1/stream/a HTTP/1.1\r\n",
        b"POST /v1/stream/a HTTP/1.0\r\n",
        b"POST  /v1/stream/a HTTP/1.1\r\n",
        b"POST /v1/stream/a HTTP/1.1\n",
        b"PoST /v1/stream/a HTTP/1.1\r\n",
        b"DELETE /v1/stream/a HTTP/1.1\r\n",
    ],
)
async def test_only_a_plain_line_is_looked_at(wire: bytes) -> None:
    async with serving() as gateway:
        await gateway.ask(put("a"))
        known = post("a", b"one")
        await gateway.ask(known)
        line, _, rest = known.partition(b"\r\n")
        blocks = gateway.fast.blocks
        assert blocks.read(line + b"\r\n" + rest) is not None
        assert blocks.read(wire + rest) is None
        assert blocks.read(known[:-1]) is None, "a part"
        assert blocks.read(known + b"P") is None, "and more"


async def test_requests_that_come_in_pieces_or_together_are_all_answered() -> None:
    async with serving() as gateway:
        await gateway.ask(put("a"))
        client = await gateway.connect()
        one = post("a", b"x")
        await client.ask(one)
        client.send(one * 3)
        assert [(await client.answer()).status for _ in range(3)] == [204] * 3
        await client.send_slowly(one)
        assert (await client.answer()).status == 204
        assert (await client.ask(one)).status == 204
        assert (await gateway.ask(get("a?offset=-1"))).body == b"x" * 6


async def test_a_connection_whose_request_was_handled_is_known_afterwards() -> None:
    """aiohttp has it look for more when a body was read: of that nothing is left."""
    async with serving() as gateway:
        client = await gateway.connect()
        await client.ask(put("a", "X-Request-Id: a", body=b"z"))
        ordinary = gateway.ordinary
        (connection,) = gateway.server.connections
        assert isinstance(connection, Connection)
        assert connection._whole
        assert (await client.ask(post("a", b"x"))).status == 204
        assert gateway.ordinary == ordinary


async def test_a_known_read_with_a_body_is_passed_on_as_when_it_is_parsed() -> None:
    data = answer(b"data", "Cache-Control: max-age=9")
    async with RawOrigin(data) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        for name in ("a", "b", "a"):
            wire = request("GET", f"{EDGE}/{name}", TEXT, body=b"x")
            assert (await client.ask(wire)).status == 200
        assert len(raw.heard) == 3


async def test_an_append_sent_ahead_may_be_cut_anywhere() -> None:
    async with serving() as gateway:
        await gateway.ask(put("a"))
        client = await gateway.connect()
        await client.ask(post("a", b"one"))
        whole = post("a", b"two") + post("a", b"end")
        for cut in range(len(post("a", b"two")), len(whole)):
            connection = next(iter(gateway.server.connections))
            connection.data_received(whole[:cut])
            connection.data_received(whole[cut:])
            assert [(await client.answer()).status for _ in range(2)] == [204, 204]
            client.close()
            await until(lambda: gateway.limits.connections == 0)
            client = await gateway.connect()
            await client.ask(post("a", b"one"))
        expected = b"one" + (len(whole) - len(post("a", b"two"))) * b"twoendone"
        assert (await gateway.ask(get("a?offset=-1"))).body == expected
