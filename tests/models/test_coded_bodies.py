"""Bodies with a content coding: what they may cost, and which are dropped with their client."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import re
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.models.provider.bodies import WINDOW_LOG
from headgate_gateway.runtime.decoding_queue import LONGEST_S
from headgate_gateway.web.requests.request_body import MOST_BUFFERED
from tests.models.coded_bodies import ASKED, KINDS, costly, windowed
from tests.models.scripted import ended
from tests.models.serving import OPENAI, answering, gateway_before
from tests.support.listener import Listener
from tests.support.waiting import until

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
KEY = {"Authorization": "Bearer mine"}
MIB = 1 << 20
_LENGTH = re.compile(rb"content-length: (\d+)")
_WHO = re.compile(rb"x-who: (\S+)")


class Taking:
    """A provider that takes each body and answers at once; `who` has asked it."""

    def __init__(self) -> None:
        self.url = ""
        self.who: list[str] = []

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length, who = _LENGTH.search(head), _WHO.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        self.who.append(who[1].decode() if who else "")
        writer.write(ended(b"data: [DONE]\n\n"))
        writer.close()


@contextlib.asynccontextmanager
async def taking(**settings: object) -> AsyncIterator[tuple[Taking, Headgate]]:
    """Serve a provider, and a gateway before it."""
    provider = Taking()
    async with Listener(provider.play, limit=32 * MIB) as server:
        provider.url = f"http://127.0.0.1:{server.port}"
        with gateway_before(provider, settings=settings) as gateway:
            yield provider, gateway


async def sent(
    gateway: Headgate, body: bytes, coding: str, path: str = CHAT, **fields: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection that has sent a request; `_` in names of fields is a hyphen."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    lines = {
        "Host": "a",
        **KEY,
        "Content-Encoding": coding,
        "Content-Length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"POST {OPENAI}{path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    await writer.drain()
    return reader, writer


async def status_of(reader: asyncio.StreamReader) -> int:
    """Return the status of the final response."""
    while (status := int((await reader.readuntil(b"\r\n\r\n")).split()[1])) < 200:
        pass
    return status


async def asked(gateway: Headgate, body: bytes, coding: str, **fields: str) -> int:
    reader, writer = await sent(gateway, body, coding, **fields)
    status = await status_of(reader)
    writer.close()
    return status


async def metric(http: aiohttp.ClientSession, gateway: Headgate, name: str) -> float:
    async with http.get(f"{gateway.admin_url}/metrics") as metrics:
        found = re.search(rf"^{re.escape(name)} (\S+)$", await metrics.text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def processor_s(gateway: Headgate) -> float:
    """Return the processor time that a gateway has taken."""
    fields = Path(f"/proc/{gateway.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(("kind", "coding"), KINDS.items(), ids=KINDS)
async def test_a_body_that_costs_much_takes_little_more_than_its_length_allows(
    kind: str, coding: str
) -> None:
    async with taking() as (_, gateway):
        assert await asked(gateway, costly(kind, 1000), coding) == 200
        before = processor_s(gateway)
        assert await asked(gateway, costly(kind, 15 * MIB), coding) in {200, 400}
        # Others than its decoding: it is received, and sent on.
        assert processor_s(gateway) - before < 2 * LONGEST_S + 0.3


async def test_a_body_that_takes_too_long_is_refused_in_words_and_counted(
    http: aiohttp.ClientSession,
) -> None:
    async with taking() as (provider, gateway):
        body = costly("empty frames", 4 * MIB)
        url, fields = f"{gateway.url}{OPENAI}{CHAT}", {"Content-Encoding": "zstd"}
        async with http.post(url, data=io.BytesIO(body), headers=fields) as refused:
            assert refused.status == 400
            message = (await refused.json())["error"]["message"]
        assert "decoding_time is reached" in message
        assert "without Content-Encoding" in message
        assert await metric(http, gateway, 'headgate_refusals_total{limit="decoding_time"}') == 1
        assert provider.who == []


LINES = [b'"level":"info","message":"answered","number":%d' % n + b"x" * 100 for n in range(20_000)]
JSON_LINES = [ASKED[:-1] + b',"lines":[0', *(b",{%b}" % line for line in LINES), b"]}"]
HONEST = {
    "a gzip log with a member for each line": ("gzip", b"".join(map(gzip.compress, JSON_LINES))),
    "zstd with a frame for each hundred lines": (
        "zstd",
        b"".join(
            zstd.compress(b"".join(JSON_LINES[at : at + 100]))
            for at in range(0, len(JSON_LINES), 100)
        ),
    ),
    "16 MiB that do not get shorter": (
        "gzip",
        gzip.compress(b'%b,"x":"%b"}' % (ASKED[:-1], os.urandom(6 * MIB).hex().encode())),
    ),
}


@pytest.mark.parametrize(("coding", "body"), HONEST.values(), ids=HONEST)
async def test_bodies_as_honest_clients_send_them_are_taken(coding: str, body: bytes) -> None:
    async with taking() as (provider, gateway):
        assert await asked(gateway, body, coding, X_Who="me") == 200
        assert provider.who == ["me"]


@pytest.mark.parametrize(("log", "status"), [(WINDOW_LOG, 200), (WINDOW_LOG + 1, 400)])
async def test_a_window_of_zstd_has_8_mib_at_most(log: int, status: int) -> None:
    block = struct.pack("<I", 1 | len(ASKED) << 3)[:3] + ASKED
    async with taking() as (_, gateway):
        assert await asked(gateway, windowed(log, block), "zstd") == status


WAITS = costly("empty blocks with tables", 3 * MIB // 2)  # 0.07 s of processor time
WAITING = 8  # of which half are still to be decoded when others come


@contextlib.asynccontextmanager
async def queueing(http: aiohttp.ClientSession, gateway: Headgate) -> AsyncIterator[None]:
    """Enter while bodies of other clients are decoded, which takes a while."""
    others = [
        await sent(gateway, WAITS, "gzip", Authorization=f"Bearer {number}", X_Who="other")
        for number in range(WAITING)
    ]
    await until(lambda: _is_waiting(http, gateway))
    yield
    for reader, writer in others:
        assert await status_of(reader) == 200
        writer.close()


async def _is_waiting(http: aiohttp.ClientSession, gateway: Headgate) -> bool:
    return await metric(http, gateway, "headgate_receiving_bytes") > WAITING / 2 * len(WAITS)


def half_close(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


SHORT = gzip.compress(ASKED)
BACKGROUND = gzip.compress(ASKED[:-1] + b',"background":true}')
LEAVERS = {
    "a client that closes": (close, CHAT, SHORT, {}, False),
    "a client that resets": (reset, CHAT, SHORT, {}, False),
    "a client that sends no more": (half_close, CHAT, SHORT, {}, True),
    "with a key": (close, CHAT, SHORT, {"Idempotency_Key": "k"}, True),
    "with a prefix": (close, CHAT, SHORT, {"Headgate_Key_Prefix": "p"}, True),
    "with a stream": (reset, CHAT, SHORT, {"Headgate_Stream": "s"}, True),
    "in the background": (close, RESPONSES, BACKGROUND, {}, True),
    "where others are in the background": (close, RESPONSES, SHORT, {}, False),
}


async def test_a_body_that_waits_is_dropped_with_its_client_unless_its_answer_outlives_it(
    http: aiohttp.ClientSession,
) -> None:
    async with taking() as (provider, gateway):
        async with queueing(http, gateway):
            waiting = []
            for name, (leave, path, body, fields, _) in LEAVERS.items():
                who = name.replace(" ", "-")
                reader, writer = await sent(gateway, body, "gzip", path, X_Who=who, **fields)
                leave(writer)
                waiting.append((leave, reader, writer))
        for leave, reader, writer in waiting:
            if leave is half_close:
                assert await status_of(reader) == 200
                writer.close()
        await until(lambda: _is_empty(http, gateway))
        came = [who.replace("-", " ") for who in provider.who if who != "other"]
        assert sorted(came) == sorted(name for name, row in LEAVERS.items() if row[-1])


async def test_a_body_takes_its_place_among_the_answers_before_it_is_decoded(
    http: aiohttp.ClientSession,
) -> None:
    async with taking(max_answers=2 * WAITING) as (_, gateway):  # half of them for an address
        async with queueing(http, gateway):
            assert await asked(gateway, b"not gzip", "gzip") == 429
        assert await asked(gateway, b"not gzip", "gzip") == 400


async def test_a_request_with_a_key_joins_its_answer_also_where_that_has_the_last_place(
    http: aiohttp.ClientSession,
) -> None:
    async with answering(settings={"max_answers": 1}) as (provider, gateway):
        provider.hold()
        url, fields = f"{gateway.url}{OPENAI}{CHAT}", {"Content-Encoding": "gzip", **KEY}
        keyed = {**fields, "Idempotency-Key": "one"}
        async with http.post(url, data=SHORT, headers=keyed) as first:
            async with http.post(url, data=SHORT, headers=keyed) as second:
                assert second.headers["Stream-URL"] == first.headers["Stream-URL"]
            for other in (fields, {**fields, "Idempotency-Key": "two"}):
                async with http.post(url, data=SHORT, headers=other) as refused:
                    assert refused.status == 503
        assert len(provider.requests) == 1


@pytest.mark.parametrize("missing", [1, 2 * MOST_BUFFERED])
async def test_a_coded_body_that_comes_counts_with_what_its_buffer_may_hold(
    http: aiohttp.ClientSession, missing: int
) -> None:
    body = os.urandom(4 * MIB)
    sent_bytes = len(body) - missing
    async with taking() as (_, gateway):
        length = {"Content_Length": str(len(body))}
        _, writer = await sent(gateway, body[:sent_bytes], "gzip", **length)
        counted = sent_bytes + min(missing, MOST_BUFFERED)
        name = "headgate_receiving_bytes"
        await until(lambda: _is(http, gateway, name, counted))
        writer.close()
        await until(lambda: _is_empty(http, gateway))


async def _is(http: aiohttp.ClientSession, gateway: Headgate, name: str, value: int) -> bool:
    return await metric(http, gateway, name) == value


async def _is_empty(http: aiohttp.ClientSession, gateway: Headgate) -> bool:
    return await metric(http, gateway, "headgate_receiving_bytes") == 0
