"""Bodies and fields as providers take them: codings, lenient JSON, uploads, long fields."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import resource
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.features.models.provider.bodies import STEP_BYTES
from tests.models.scripted import ended, scripted
from tests.models.serving import OPENAI, answering, gateway_before
from tests.proxies.serving import PREFIX, SERVICE, gateway_with_proxy, written
from tests.support.listener import Listener
from tests.support.waiting import until

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import aiohttp

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

CHAT = "/v1/chat/completions"
FILES = "/v1/files"
KEY = {"Authorization": "Bearer sk-mine"}
BODY = json.dumps({"model": "m", "stream": True, "x": "é" * 100}).encode()
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": partial(zstd.compress, options={zstd.CompressionParameter.checksum_flag: 1}),
}


async def post(
    http: aiohttp.ClientSession, gateway: Headgate, body: Any, path: str = CHAT, **fields: str
) -> aiohttp.ClientResponse:
    """Return a response that was read; `_` in names of fields is a hyphen."""
    headers = {**KEY, **{name.replace("_", "-"): value for name, value in fields.items()}}
    async with http.post(f"{gateway.url}{OPENAI}{path}", data=body, headers=headers) as response:
        await response.read()
        return response


async def refusals(http: aiohttp.ClientSession, gateway: Headgate, limit: str) -> int:
    async with http.get(f"{gateway.admin_url}/metrics") as metrics:
        found = re.search(
            rf'headgate_refusals_total{{limit="{limit}"}} (\d+)', await metrics.text()
        )
    assert found is not None
    return int(found[1])


async def test_a_coded_body_is_sent_on_as_it_came_and_compared_decoded(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        for number, (coding, coded) in enumerate(CODINGS.items(), 1):
            fields = {"Headgate_Key_Prefix": f"job-{number}"}
            first = await post(http, gateway, coded(BODY), Content_Encoding=coding, **fields)
            again = await post(http, gateway, BODY, Content_Encoding="identity", **fields)
            assert first.headers["Stream-URL"] == again.headers["Stream-URL"]
            assert len(provider.requests) == number
            sent = provider.requests[-1]
            assert sent.headers["Content-Encoding"] == coding
            assert await sent.read() == BODY  # which the double's server has decoded


async def test_a_coded_body_holds_max_append_bytes_when_it_is_decoded(
    http: aiohttp.ClientSession,
) -> None:
    most = 2 * STEP_BYTES + 7
    begin, end = b'{"model":"m","stream":true,"x":"', b'"}'
    fits = begin + b"x" * (most - len(begin) - len(end)) + end
    async with answering(environment={"HEADGATE_LIMITS__MAX_APPEND": str(most)}) as (
        provider,
        gateway,
    ):
        for coding, coded in CODINGS.items():
            held = await post(http, gateway, coded(fits), Content_Encoding=coding)
            assert held.status == 200, coding
            assert "Stream-URL" in held.headers
            refused = await post(http, gateway, coded(fits + b" "), Content_Encoding=coding)
            assert refused.status == 413, coding
        assert await refusals(http, gateway, "max_append") == len(CODINGS)
        assert len(provider.requests) == len(CODINGS)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "is cut in its middle": lambda coded: coded[: len(coded) // 2],
    "is cut by its last byte": lambda coded: coded[:-1],
    "has a wrong checksum": lambda coded: coded[:-5] + bytes([coded[-5] ^ 1]) + coded[-4:],
    "has other bytes after its end": lambda coded: coded + b"x" * 9000,
}
WRONG: dict[str, tuple[dict[str, str], bytes, int, str]] = {
    "an unknown coding": ({"Content_Encoding": "compress"}, BODY, 415, "gzip, zstd"),
    "two codings": ({"Content_Encoding": "gzip, zstd"}, BODY, 415, "gzip, zstd"),
    **{
        f"bytes that are not {coding}": ({"Content_Encoding": coding}, b"{" + BODY, 400, coding)
        for coding in CODINGS
    },
    **{
        f"{coding} that {words}": ({"Content_Encoding": coding}, change(coded(BODY)), 400, coding)
        for coding, coded in CODINGS.items()
        for words, change in DAMAGES.items()
    },
}


@pytest.mark.parametrize(("fields", "body", "status", "words"), WRONG.values(), ids=WRONG)
async def test_a_body_that_cannot_be_read_as_its_provider_does_is_refused_in_words(
    http: aiohttp.ClientSession, fields: dict[str, str], body: bytes, status: int, words: str
) -> None:
    async with answering() as (provider, gateway):
        refused = await post(http, gateway, body, **fields)
        assert refused.status == status
        assert words in (await refused.json())["error"]["message"]
        if status == 415:
            assert refused.headers["Accept-Encoding"] == words
        assert not provider.requests


MODELS = {b"phi-NaN": None, b"a\\ud83d": None, b"m": "m"}


@pytest.mark.parametrize(("sent", "recorded"), MODELS.items())
async def test_no_other_model_is_recorded_than_a_lenient_body_names(
    http: aiohttp.ClientSession, sent: bytes, recorded: str | None
) -> None:
    body = b'{"model":"%b","stream":true,"x":NaN}' % sent
    async with scripted(ended(b"data: [DONE]\n\n")) as provider:
        with gateway_before(provider) as gateway:
            answer = await post(http, gateway, body, Idempotency_Key="one")
            async with http.get(f"{answer.headers['Stream-URL']}/record") as record:
                assert (await record.json())[0].get("model") == recorded


async def test_a_running_answer_keeps_nothing_of_a_body_that_is_long_when_it_is_decoded(
    http: aiohttp.ClientSession,
) -> None:
    body = gzip.compress(json.dumps({"model": "m", "stream": True, "x": "x" * (15 << 20)}).encode())
    async with answering() as (provider, gateway):
        provider.hold()
        headers = {**KEY, "Content-Encoding": "gzip"}
        running, sizes = [], []
        for _ in range(8):
            asked = http.post(f"{gateway.url}{OPENAI}{CHAT}", data=body, headers=headers)
            running.append(await asked)
            sizes.append(resident(gateway))
        assert max(sizes) - sizes[1] < 30 << 20, sizes
        for response in running:
            response.close()


def resident(gateway: Headgate) -> int:
    """Return the bytes of memory that a gateway uses."""
    pages = Path(f"/proc/{gateway.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


LENIENT = {
    "half of a surrogate pair": b'{"model":"m","stream":true,"x":"\\ud83d"}',
    "the other half": b'{"x":"\\uDE00 and more","model":"m","stream":true}',
    "a byte order mark": b"\xef\xbb\xbf" + b'{"model":"m","stream":true}',
    "numbers that are none": b'{"x":[NaN,-Infinity,Infinity],"model":"m","stream":true}',
    "a name twice further inside": b'{"x":{"model":1,"model":2},"model":"m","stream":true}',
    "bytes that are no text": b'{"x":"\xff","model":"m","stream":true}',
    "a blank around": b' { "stream" : true , "model" : "m" } ',
}


@pytest.mark.parametrize("body", LENIENT.values(), ids=LENIENT)
async def test_an_answer_to_a_body_that_only_lenient_parsers_take_is_stored(
    http: aiohttp.ClientSession, body: bytes
) -> None:
    async with scripted(ended(b"data: [DONE]\n\n")) as provider:
        with gateway_before(provider) as gateway:
            answer = await post(http, gateway, body, Idempotency_Key="one")
            async with http.get(f"{answer.headers['Stream-URL']}/record") as record:
                assert (await record.json())[0]["model"] == "m"


@pytest.mark.parametrize("size", [8_191, 60_000])
async def test_a_field_of_a_response_may_have_64_kib(
    http: aiohttp.ClientSession, tmp_path: Path, size: int
) -> None:
    link = b"<" + b"l" * (size - 2) + b">"
    events = b"data: [DONE]\n\n"
    response = ended(events).replace(b"\r\n", b"\r\nLink: %b\r\n" % link, 1)
    written(tmp_path)
    async with scripted(response) as provider:
        with gateway_before(provider) as gateway:
            for path, body in ((CHAT, BODY), (FILES, b"file")):
                async with http.post(
                    f"{gateway.url}{OPENAI}{path}", data=body, headers=KEY, max_field_size=1 << 16
                ) as answer:
                    assert answer.status == 200
                    assert answer.headers["Link"].encode() == link
        with gateway_with_proxy(tmp_path) as gateway:
            headers = {**SERVICE, "Upstream-URL": provider.url, "Upstream-Method": "GET"}
            async with http.post(gateway.url + PREFIX, headers=headers) as created:
                assert created.status == 201


KEPT = 64  # of the last bytes of an upload


class Uploads:
    """A provider that takes bodies, part by part, and then answers."""

    def __init__(self) -> None:
        self.url = ""
        self.head = b""
        self.received = bytearray()
        self.grown = asyncio.Event()
        self.is_cut = False
        self.early = b""  # sent before the body has come

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        writer.write(self.early)
        while part := await reader.read(1 << 16):
            self.received = (self.received + part)[-KEPT:]
            self.grown.set()
            if self.received.endswith(b"end") or self.received.endswith(b"\r\n0\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                writer.close()
                return
        self.is_cut = True
        writer.close()


@contextlib.asynccontextmanager
async def uploading(
    read_timeout: float = 1, **environment: str
) -> AsyncIterator[tuple[Uploads, Headgate]]:
    """Serve a provider of uploads behind a gateway that waits for it for a second."""
    provider = Uploads()
    settings = {"read_timeout": read_timeout, "max_answers": 1, "max_client_answers": 1}
    async with Listener(provider.play) as server:
        provider.url = f"http://127.0.0.1:{server.port}"
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            yield provider, gateway


@pytest.mark.parametrize("length", [None, "8"])
async def test_what_is_only_passed_on_is_sent_while_it_comes_and_has_a_place(
    http: aiohttp.ClientSession, length: str | None
) -> None:
    rest = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"begin"
        await rest.wait()
        await asyncio.sleep(1.2)  # for longer than the provider may be silent
        yield b"end"

    fields = {} if length is None else {"Content_Length": length}
    async with uploading(HEADGATE_LIMITS__MAX_APPEND="6") as (provider, gateway):
        asked = asyncio.ensure_future(post(http, gateway, parts(), FILES, **fields))
        await provider.grown.wait()
        assert b"begin" in provider.received
        assert (await post(http, gateway, parts(), FILES)).status == 503
        rest.set()
        assert (await asked).status == 200
        assert (length is None) == (b"transfer-encoding: chunked" in provider.head.lower())
        provider.received.clear()
        assert (await post(http, gateway, parts(), FILES)).status == 200


async def test_a_provider_may_refuse_an_upload_before_it_has_come(
    http: aiohttp.ClientSession,
) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nfar"
    async with scripted(refusal) as provider:
        with gateway_before(provider) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            head = f"POST {OPENAI}{FILES} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head.encode() + b"5\r\nbegin\r\n")
            got = await reader.readuntil(b"far")
            assert got.startswith(b"HTTP/1.1 413 ")
            writer.close()


async def test_an_upload_that_stands_still_ends_also_behind_an_early_head(
    http: aiohttp.ClientSession,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
    async with uploading(HEADGATE_HTTP__BODY_TIMEOUT="1") as (provider, gateway):
        provider.early = head
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        asked = f"POST {OPENAI}{FILES} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbegin"
        writer.write(asked.encode())
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")
        with contextlib.suppress(ConnectionError):
            await reader.read()  # up to its end
        await until(lambda: provider.is_cut)
        writer.close()
        provider.early = b""
        await until_answered(http, gateway)


async def test_a_client_that_leaves_amid_its_upload_ends_it_and_gives_its_place_back(
    http: aiohttp.ClientSession,
) -> None:
    async with uploading() as (provider, gateway):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = f"POST {OPENAI}{FILES} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbegin"
        writer.write(head.encode())
        await provider.grown.wait()
        writer.close()
        await until(lambda: provider.is_cut)
        provider.received.clear()
        await until_answered(http, gateway)


async def until_answered(http: aiohttp.ClientSession, gateway: Headgate) -> None:
    while (await post(http, gateway, b"the end", FILES)).status != 200:
        await asyncio.sleep(0.05)


async def test_clients_that_leave_amid_a_response_leave_no_connection_to_the_provider() -> None:
    held: set[object] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000))
                await writer.drain()
        held.discard(writer)
        writer.close()

    provider = Uploads()
    async with Listener(play) as server:
        provider.url = f"http://127.0.0.1:{server.port}"
        with gateway_before(provider) as gateway:
            for number in range(100):
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(f"GET {OPENAI}{FILES} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                await asyncio.sleep(0.0002 * number)  # before, in and behind the head
                writer.close()
            await until(lambda: len(held) <= 1)  # for the next request


MOST = 512 << 20


@pytest.mark.parametrize(("size", "is_taken"), [(MOST, True), (MOST + 1, False)])
async def test_a_body_that_is_passed_on_has_512_mib_at_most(
    http: aiohttp.ClientSession, size: int, is_taken: bool
) -> None:
    async with uploading() as (provider, gateway):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = f"POST {OPENAI}{FILES} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\nbegin"
        writer.write(head.encode())
        if is_taken:
            await provider.grown.wait()
            assert b"content-length: %d" % size in provider.head.lower()
        else:
            assert b" 413 " in await reader.readline()
            assert await refusals(http, gateway, "passed_body") == 1
        writer.close()


async def test_a_body_without_a_length_is_cut_behind_512_mib(http: aiohttp.ClientSession) -> None:
    async def parts(last: bytes) -> AsyncIterator[bytes]:
        part = bytes(1 << 20)
        for _ in range(MOST // len(part) - 1):
            yield part
        yield part[len(b"end") :] + b"end" + last

    # The provider takes its parts in this process, which may stand still for a second.
    async with uploading(read_timeout=60) as (provider, gateway):
        assert (await post(http, gateway, parts(b""), FILES)).status == 200
        assert (await post(http, gateway, parts(b"!"), FILES)).status == 413
        await until(lambda: provider.is_cut)
