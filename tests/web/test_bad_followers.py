"""What is no HTTP behind a request under way costs that one nothing, and is nobody's error."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.connections import connection
from headgate_gateway.web.connections.parsing import HEAD_BYTES
from tests.support.log_lines import capture_logs
from tests.support.raw_origin import RawOrigin, Steps, answer, silence
from tests.support.serving import EDGE, PREFIX, Serving, edge_serving, get, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Client

BAD = b"NONSENSE\r\n\r\n"
CHUNKED = b"POST %s/s HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked"


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What an operator would be woken for."""
    return [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]


async def after(client: Client, data: bytes, *, cut: int) -> None:
    """Send the last so many bytes a moment after the others."""
    client.send(data[: len(data) - cut])
    if cut:
        await asyncio.sleep(0.05)  # that they come late is what is tested
        client.send(data[len(data) - cut :])


@pytest.mark.parametrize("prefix", [PREFIX, EDGE])
async def test_a_body_that_turns_malformed_is_refused_at_once(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing more can come of it, so the refusal does not wait for the body's time to be over."""
    async with RawOrigin(silence) as origin, edge_serving(origin, body_timeout=60.0) as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        handled = gateway.watch_handlers()
        client.send(CHUNKED % prefix.encode() + b"\r\n\r\n3\r\nabc\r\n")
        await until(lambda: len(handled) == 1)
        await asyncio.sleep(0.05)  # as above
        client.send(b"zz\r\n")
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        assert complaints(caplog) == []


async def test_a_malformed_body_of_an_already_answered_request_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as gateway:
        client = await gateway.connect()
        client.send(CHUNKED.replace(b"POST", b"PATCH") % PREFIX.encode() + b"\r\n\r\n3\r\nabc\r\n")
        assert (await client.answer()).status == 405
        client.send(b"zz\r\n")
        assert await client.rest() == b""
        assert complaints(caplog) == []


@pytest.mark.parametrize("length", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET", "PATCH"])
@pytest.mark.parametrize("prefix", [PREFIX, EDGE])
async def test_a_client_that_disconnects_within_its_body_is_not_logged_as_an_error(
    prefix: str, method: str, length: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with RawOrigin(silence) as origin, edge_serving(origin) as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        head = f"{method} {prefix}/s HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n{length}"
        handled = gateway.watch_handlers()
        client.send(head.encode() + b"\r\n\r\n3\r\nabc\r\n")
        await until(lambda: len(handled) == 1)
        with capture_logs() as own:
            client.abort()
            await until(lambda: gateway.limits.connections == 0)
        assert [line for line in own if line["log_level"] in {"error", "critical"}] == []
        assert complaints(caplog) == []


async def _behind(gateway: Serving, client: Client, head: bytes) -> connection.Connection:
    """A connection whose client has sent a head while its first request is under way."""
    handled = gateway.watch_handlers()
    client.send(get(f"{EDGE}/s"))
    await until(lambda: len(handled) == 1)
    (made,) = gateway.server.connections
    assert isinstance(made, connection.Connection)
    client.send(head[:20_000])
    await until(lambda: len(made.requests.held) == len(head[:20_000]))
    client.send(head[20_000:])
    await until(lambda: len(made.requests.held) == len(head))
    return made


@pytest.mark.parametrize(("more", "status"), [(-1, 404), (0, 404), (1, 431)])
async def test_a_head_pipelined_behind_a_request_is_bounded(more: int, status: int) -> None:
    script = Steps(b"", answer(b"late"))
    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        head = b"GET /v1/stream/s HTTP/1.1\r\nHost: x\r\n"
        head += b"".join(b"X-%d: %s\r\n" % (n, b"v" * 4000) for n in range(8))
        head += b"Y: " + b"v" * (HEAD_BYTES + more - len(head) - 3)
        client = await gateway.connect()
        await _behind(gateway, client, head)
        if status != 431:
            client.send(b"\r\n\r\n")
        script.go()
        assert (await client.answer()).body == b"late"
        assert (await client.answer()).status == status


async def test_the_timeout_of_a_pipelined_head_begins_after_the_response_before_it() -> None:
    script = Steps(b"", answer(b"late"))
    async with RawOrigin(script) as origin, edge_serving(origin, header_timeout=0.2) as gateway:
        client = await gateway.connect()
        made = await _behind(gateway, client, b"GET /v1/stream/s HTTP/1.1\r\nHost:")
        assert made.end_if_slow(asyncio.get_running_loop().time() + 1) is None
        script.go()
        assert (await client.answer()).body == b"late"
        assert await client.rest() == b""
        assert gateway.limits.refused["header_timeout"] == 1


async def test_a_long_body_sent_in_pieces_is_not_counted_as_a_head() -> None:
    async with serving() as gateway:
        client = await gateway.connect()
        await client.ask(put("s"))
        whole = post("s", b"x" * 300_000)
        for _ in range(3):
            for at in range(0, len(whole), 40_000):
                client.send(whole[at : at + 40_000])
                await asyncio.sleep(0.001)  # pieces of their own are what is tested
            assert (await client.answer()).status == 204


@pytest.mark.parametrize("number", [31, 32, 33, 100])
async def test_a_long_pipeline_behind_a_request_under_way_is_answered_in_order(number: int) -> None:
    script = Steps(b"", answer(b"late"))
    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        client = await gateway.connect()
        client.send(get(f"{EDGE}/s") + b"".join(put(f"t{n}") for n in range(number)) + BAD)
        await until(lambda: script.sent == 1)
        script.go()
        assert (await client.answer()).body == b"late"
        for _ in range(number):
            assert (await client.answer()).status == 201
        assert (await client.answer()).status == 400
        assert await client.rest() == b""


@pytest.mark.parametrize("behind", [b"", b"G", pytest.param(get("s"), id="a-whole-request")])
@pytest.mark.parametrize("slowly", [False, True])
async def test_an_event_stream_with_bytes_pipelined_behind_it_says_connection_close(
    slowly: bool, behind: bytes
) -> None:
    """What is behind them would be lost with the connection; after what came in pieces none is."""
    async with serving(sse_max_age=0.05) as gateway:
        client = await gateway.connect()
        await client.ask(put("s"))
        wire = post("s", b"x" * 100)
        await (client.send_slowly(wire) if slowly else client.send_all(wire))
        assert (await client.answer()).status in {200, 204}
        client.send(get("s?offset=now&live=sse") + behind)
        head = await client.head()
        assert head.get("Connection") == ("close" if behind else None)
        await client.events_to_the_end()
        if not behind:
            assert (await client.ask(get("s"))).status == 200
