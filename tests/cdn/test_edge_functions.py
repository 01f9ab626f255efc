"""Functions at the edge stream: what they send is sent as it comes, whole, and ends in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.http1 import Client, ask, request
from tests.support.ports import free_port
from tests.support.processes import ROOT, headgate
from tests.support.proxy_engines import ENGINES, running
from tests.support.raw_origin import RawOrigin
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.event_stream import Event
    from tests.support.processes import Headgate
    from tests.support.raw_origin import Wire

TEXT = "text/plain"
KEEP_ALIVE_S = 0.2
END_S = 1.0
PLATFORMS = {"cloudflare": ENGINES["cloudflare-worker"], "vercel": ENGINES["vercel"]}
TEXT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS_HEAD = TEXT_HEAD.replace(b"text/plain", b"text/event-stream")
CONTROL = b'id:7\nevent: control\ndata:{"streamNextOffset":"7"}\n\n'


@contextlib.contextmanager
def serving(platform: str, origin: str) -> Iterator[int]:
    """The port of its functions, which ask this origin."""
    port = free_port()
    module = ROOT / "cdn_configs" / platform / "streaming.js"
    variables = {"ORIGIN": origin, "KEEP_ALIVE_S": str(KEEP_ALIVE_S), "END_S": str(END_S)}
    environment = {"FUNCTION_VARIABLES": json.dumps(variables)}
    with running(PLATFORMS[platform].command(module, port), port, environment):
        yield port


@pytest.fixture(scope="module", params=PLATFORMS)
def gateway(processes: None, request: pytest.FixtureRequest) -> Iterator[tuple[int, Headgate]]:
    """The port of the functions of a platform, and the Headgate behind them."""
    with headgate() as server, serving(request.param, server.streams) as port:
        yield port, server


@pytest.fixture(scope="module", params=PLATFORMS)
def scripted(processes: None, request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The port of the functions of a platform, and where they look for an origin."""
    origin = free_port()
    with serving(request.param, f"http://127.0.0.1:{origin}") as port:
        yield port, origin


@contextlib.asynccontextmanager
async def asked(port: int, target: str, **headers: str) -> AsyncIterator[Client]:
    """Somebody who has sent a request, of whose answer nothing is read yet."""
    client = await Client.connect(port)
    try:
        client.send(request("GET", target, None, **headers))
        yield client
    finally:
        client.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Parts:
    """An answer that an origin sends part by part, each when the test says so."""

    def __init__(self, head: bytes) -> None:
        self._wire = head
        self._more = asyncio.Event()
        self.left = asyncio.Event()
        """Set when who asked has closed the connection."""

    def send(self, *parts: bytes) -> None:
        self._wire += b"".join(map(chunk, parts))
        self._more.set()

    def end(self) -> None:
        self._wire += END
        self._more.set()

    async def play(self, wire: Wire) -> None:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send(wire))
            await wire.rest()
            self.left.set()
            sending.cancel()

    async def _send(self, wire: Wire) -> None:
        while True:
            new, self._wire = self._wire, b""
            await wire.send(new)
            self._more.clear()
            await self._more.wait()


END = b"0\r\n\r\n"


# ---------------------------------------------------------------- generated and transformed


async def test_an_edge_function_streams_a_generated_body_part_by_part(
    scripted: tuple[int, int],
) -> None:
    async with asked(scripted[0], "/generated?parts=5&wait_ms=200") as client:
        head = await client.head()
        first = await client.chunk()
        rest = await client.chunks()
    assert head.get("content-type") == "text/plain; charset=utf-8"
    assert first == b"part 0\n"
    assert b"".join(rest) == b"part 1\npart 2\npart 3\npart 4\n"


async def test_an_edge_function_bounds_its_generated_body_at_1000_parts(
    scripted: tuple[int, int],
) -> None:
    async with asked(scripted[0], "/generated?parts=1e9&wait_ms=0") as client:
        answer = await client.whole(await client.head())
    assert answer.body.count(b"\n") == 1000


async def test_an_edge_function_transforms_a_body_while_it_streams(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(TEXT_HEAD)
    async with RawOrigin(parts.play, port=origin_port), asked(port, "/transformed/s") as client:
        parts.send("grüße".encode())
        await client.head()
        assert await client.chunk() == "GRÜSSE".encode()  # while there is more to come
        parts.send("später".encode())
        parts.end()
        assert b"".join(await client.chunks()) == "SPÄTER".encode()


async def test_a_transformed_response_is_no_store_and_loses_cache_headers(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    told = {
        "Cache-Control": "public, max-age=60",
        "CDN-Cache-Control": "max-age=60",
        "Surrogate-Control": "max-age=60",
        "Surrogate-Key": "headgate",
        "Cache-Tag": "headgate",
        "ETag": '"1"',
        "Age": "7",
        "Stream-Next-Offset": "7",
    }
    fields = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    answer = TEXT_HEAD[:-2] + fields.encode() + b"\r\n" + chunk(b"text") + END
    async with RawOrigin(answer, port=origin_port), asked(port, "/transformed/s") as client:
        whole = await client.whole(await client.head())
    assert whole.body == b"TEXT"
    kept = {name: whole.get(name) for name in told if whole.get(name) is not None}
    assert kept == {"Cache-Control": "no-store", "Stream-Next-Offset": "7"}


async def test_characters_split_across_chunks_are_transformed_whole(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    text = "ä€🎉ﬁ"
    pieces = [bytes([byte]) for byte in text.encode()]
    answer = TEXT_HEAD + b"".join(map(chunk, pieces)) + END

    async def byte_by_byte(wire: Wire) -> None:
        for at in range(len(answer)):
            await wire.send(answer[at : at + 1])
            await asyncio.sleep(0)

    async with (
        RawOrigin(byte_by_byte, port=origin_port),
        asked(port, "/transformed/s") as client,
    ):
        whole = await client.whole(await client.head())
    assert whole.body.decode() == text.upper()


async def test_an_incomplete_last_character_becomes_a_replacement_character(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    answer = TEXT_HEAD + chunk(b"cut \xf0\x9f\x8e") + END
    async with RawOrigin(answer, port=origin_port), asked(port, "/transformed/s") as client:
        whole = await client.whole(await client.head())
    assert whole.body.decode() == "CUT \N{REPLACEMENT CHARACTER}"


async def test_an_edge_function_passes_on_a_404_of_the_gateway(
    gateway: tuple[int, Headgate],
) -> None:
    port, _ = gateway
    for target in ("/transformed/absent", "/events/absent?offset=-1"):
        answer = ask(port, "GET", target)
        assert (answer.status, answer.json()["status"]) == (404, 404), target


# ---------------------------------------------------------------- events


async def test_sse_through_an_edge_function_begins_with_a_comment_and_is_not_buffered(
    gateway: tuple[int, Headgate],
) -> None:
    port, server = gateway
    ask(server.port, "PUT", "/v1/stream/begin", b"there", Content_Type=TEXT)
    async with asked(port, "/events/begin?offset=-1") as client:
        head = await client.head()
        assert head.get("content-type") == "text/event-stream"
        assert head.get("cache-control") == "no-cache, no-transform"
        assert head.get("access-control-allow-origin") == "*"  # an EventSource needs it
        assert (await client.chunk()).startswith(b":\n")
        await client.events_until(lambda events: any(one.data == "there" for one in events))


async def test_an_edge_function_sends_keep_alive_comments_only_between_events(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(EVENTS_HEAD)
    async with RawOrigin(parts.play, port=origin_port), asked(port, "/events/s") as client:
        await client.head()
        await client.event_bytes_until(b":\n:\n")
        parts.send(b"event: data\nda")
        await client.event_bytes_until(b"da")
        await asyncio.sleep(2 * KEEP_ALIVE_S)  # nothing tells of a comment that does not come
        parts.send(b"ta:whole\n\n" + CONTROL)
        received = await client.event_bytes_until(CONTROL)
    assert received.endswith(b":\nevent: data\ndata:whole\n\n" + CONTROL)


async def test_an_edge_function_completes_the_current_event_at_its_time_limit(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(EVENTS_HEAD)
    loop = asyncio.get_running_loop()
    async with RawOrigin(parts.play, port=origin_port):
        async with asked(port, "/events/s") as client:
            began = loop.time()
            await client.head()
            parts.send(CONTROL + b"event: data\ndata:be")
            await client.event_bytes_until(b"data:be")
            await asyncio.sleep(END_S - (loop.time() - began) + KEEP_ALIVE_S)  # its time is over
            parts.send(b"gun\n\n" + CONTROL + b"event: data\ndata:next\n\n")
            events = await client.events_to_the_end()
        await until(parts.left.is_set, "the function to leave the origin")
    assert [one.data for one in events if one.name == "data"] == ["begun"]
    assert client.received.endswith(CONTROL)


async def test_an_edge_function_cuts_an_event_that_exceeds_the_grace_time(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(EVENTS_HEAD)
    async with RawOrigin(parts.play, port=origin_port):
        async with asked(port, "/events/s", Connection="close") as client:
            await client.head()
            parts.send(b"event: data\ndata:never whole")
            rest = await client.rest()
        await until(parts.left.is_set, "the function to leave the origin")
    assert b"never whole" in rest
    assert CONTROL not in rest  # so its reader asks for it again


async def test_an_edge_function_disconnects_from_its_origin_when_its_reader_leaves(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    parts = Parts(EVENTS_HEAD)
    async with RawOrigin(parts.play, port=origin_port):
        async with asked(port, "/events/s") as client:
            await client.head()
            parts.send(CONTROL)
            await client.event_bytes_until(CONTROL)
        await until(parts.left.is_set, "the function to leave the origin")


def offset_of(events: list[Event]) -> str:
    """Where the last control event says that its reader goes on."""
    control = next(one for one in reversed(events) if one.name == "control")
    offset: str = json.loads(control.data)["streamNextOffset"]
    return offset


async def test_a_reader_of_many_short_sse_responses_gets_every_message_once(
    gateway: tuple[int, Headgate],
) -> None:
    port, server = gateway
    path, messages = "/v1/stream/many", 60
    ask(server.port, "PUT", path, Content_Type=TEXT)

    async def write() -> None:
        for number in range(messages):
            record = b"%d\n" % number
            await asyncio.to_thread(ask, server.port, "POST", path, record, Content_Type=TEXT)
            await asyncio.sleep(END_S / 15)

    received, answers = "", 0
    resumed: dict[str, str] = {}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        while received.count("\n") < messages:
            # As an EventSource does: the same URL each time, and the id of the last event.
            async with asked(port, "/events/many?offset=-1", **resumed) as client:
                await client.head()
                events = await client.events_to_the_end()
            received += "".join(one.data for one in events if one.name == "data")
            resumed = {"Last_Event_ID": offset_of(events)}
            answers += 1
    assert received.split() == [str(number) for number in range(messages)]
    assert answers >= 3
