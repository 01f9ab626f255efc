"""An answer longer than the memory allowed for it is read in parts, or refused."""

from __future__ import annotations

import functools
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from headgate import following
from headgate.errors import ProtocolError
from headgate.following import catch_up, long_poll, sse
from headgate.stream_requests import StreamRequests

from tests.support.raw_origin import RawOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.support.raw_origin import Play, Wire

MIB = 1 << 20
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nStream-Next-Offset: 9\r\n"
ENDLESS = f"{HEAD}Stream-Up-To-Date: true\r\n\r\n".encode()


async def endless(wire: Wire) -> None:
    await wire.send(ENDLESS)
    while not wire.is_closing():
        await wire.send(b"x" * MIB)


@functools.cache
def packed() -> bytes:
    """Return 32 MiB in gzip."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*(packer.compress(b"x" * MIB) for _ in range(32)), packer.flush()])


async def bomb(wire: Wire) -> None:
    body = packed()
    coded = f"Stream-Up-To-Date: true\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}"
    await wire.send(f"{HEAD}{coded}\r\n\r\n".encode() + body)


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CONTROL = b'event: control\ndata: {"streamNextOffset":"9","upToDate":true}\n\n'


async def endless_line(wire: Wire) -> None:
    await wire.send(EVENTS + CONTROL + b"event: data\ndata: ")
    for _ in range(32):
        await wire.send(b"x" * MIB)
    await wire.close()


async def endless_event(wire: Wire) -> None:
    await wire.send(EVENTS + CONTROL + b"event: data\n")
    for _ in range(512):
        await wire.send(b"data: " + b"x" * 65_536 + b"\n")
    await wire.close()


async def events_without_control(wire: Wire) -> None:
    await wire.send(EVENTS + CONTROL)
    for _ in range(512):
        await wire.send(b"event: data\ndata: " + b"x" * 65_536 + b"\n\n")
    await wire.close()


READS: dict[str, Callable[[StreamRequests], AsyncGenerator[Any]]] = {
    "catch-up": lambda stream: catch_up(stream, "1"),
    "long-poll": lambda stream: long_poll(stream, "1", None),
    "sse": lambda stream: sse(stream, "1", None),
}
NO_END, NO_CONTROL = "more than 4 MiB and no end so far", "more than 4 MiB of events .* no control"


@pytest.mark.parametrize(
    ("read", "play", "error"),
    [
        *((read, play, NO_END) for read in ("catch-up", "long-poll") for play in (endless, bomb)),
        ("sse", endless_line, NO_CONTROL),
        ("sse", endless_event, NO_CONTROL),
        ("sse", events_without_control, NO_CONTROL),
    ],
)
async def test_an_answer_beyond_the_bound_raises_and_uses_bounded_memory(
    read: str, play: Play, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed()  # before the memory is measured
    monkeypatch.setattr(following, "MOST_BYTES", 4 * MIB)
    async with RawOrigin(play) as origin, StreamRequests(f"{origin.url}/s") as stream:
        tracemalloc.start()
        try:
            batches = READS[read](stream)
            if read == "sse":
                assert (await anext(batches)).offset == "9"
            with pytest.raises(ProtocolError, match=error):
                await anext(batches)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 16 * MIB


@pytest.mark.parametrize("beyond", [-1, 0, 1])
async def test_a_response_is_read_up_to_the_bound_and_refused_a_byte_beyond(
    beyond: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MOST_BYTES", 32 * MIB - beyond)
    async with RawOrigin(bomb) as origin, StreamRequests(f"{origin.url}/s") as stream:
        batches = catch_up(stream, "1")
        if beyond > 0:
            with pytest.raises(ProtocolError):
                await anext(batches)
        else:
            _, batch = await anext(batches)
            assert sum(map(len, batch.bodies)) == 32 * MIB
        await batches.aclose()


async def test_a_long_response_read_in_parts_is_complete_and_ends_at_its_offset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "HELD_BYTES", 3 * MIB)
    async with RawOrigin(bomb) as origin, StreamRequests(f"{origin.url}/s") as stream:
        read = 0
        async for _, batch in catch_up(stream, "1", in_parts=lambda _: True):
            sizes = [len(body) for body in batch.bodies]
            assert all(size <= 3 * MIB + following.PIECE_BYTES for size in sizes)
            read += sum(sizes)
            assert batch.is_last or batch.offset == "1"  # where the answer began
        assert (read, batch.offset, batch.is_last) == (32 * MIB, "9", True)


async def test_each_control_event_resets_the_bound_on_sse_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "MOST_BYTES", 4 * MIB)

    async def play(wire: Wire) -> None:
        await wire.send(EVENTS)
        for _ in range(4):
            await wire.send(b"event: data\ndata: " + b"x" * (3 * MIB) + b"\n\n" + CONTROL)
        await wire.close()

    async with RawOrigin(play) as origin, StreamRequests(f"{origin.url}/s") as stream:
        sizes = [sum(map(len, batch.bodies)) async for batch in sse(stream, "1", None)]
        assert sizes == [3 * MIB] * 4
