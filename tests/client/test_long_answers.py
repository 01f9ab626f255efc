"""An answer longer than the memory allowed for it is read in parts, or refused."""

from __future__ import annotations

import functools
import tracemalloc
import zlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from headgate import following
from headgate.errors import ProtocolError
from headgate.following import catch_up, long_poll, sse
from headgate.stream_requests import StreamRequests
from tests.support.raw_origin import RawOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.raw_origin import Play, Wire

MIB = 1 << 20
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nStream-Next-Offset: 9\r\n"
ENDLESS = f"{HEAD}Stream-Up-To-Date: true\r\n\r\n".encode()
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CONTROL = b'event: control\ndata: {"streamNextOffset":"9","upToDate":true}\n\n'
BEGUN = EVENTS + CONTROL
DATA = b"event: data\ndata: "


def sends(*pieces: bytes, times: int = 32) -> Play:
    """Send these pieces, of which the last one comes so many times, and close."""

    async def play(wire: Wire) -> None:
        for piece in (*pieces[:-1], *pieces[-1:] * times):
            await wire.send(piece)
        await wire.close()

    return play


@functools.cache
def packed() -> bytes:
    """Return 32 MiB in gzip."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*(packer.compress(b"x" * MIB) for _ in range(32)), packer.flush()])


async def bomb(wire: Wire) -> None:
    body = packed()
    coded = f"Stream-Up-To-Date: true\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}"
    await wire.send(f"{HEAD}{coded}\r\n\r\n".encode() + body)


def events(stream: StreamRequests) -> AsyncGenerator[Any]:
    return sse(stream, "1", None)


def polled(stream: StreamRequests) -> AsyncGenerator[Any]:
    return long_poll(stream, "1", None)


def whole(stream: StreamRequests) -> AsyncGenerator[Any]:
    return catch_up(stream, "1")


NO_END, NO_CONTROL = "more than 4 MiB and no end so far", "more than 4 MiB of events .* no control"


@pytest.mark.parametrize(
    ("read", "play"),
    [
        pytest.param(polled, sends(ENDLESS, b"x" * MIB), id="endless"),
        pytest.param(whole, bomb, id="packed"),
        pytest.param(events, sends(BEGUN + DATA, b"x" * MIB), id="a line"),
        pytest.param(events, sends(BEGUN + DATA, b"\ndata: " + b"x" * MIB), id="an event"),
        pytest.param(events, sends(BEGUN, DATA + b"x" * MIB + b"\n\n"), id="no control event"),
    ],
)
async def test_an_answer_beyond_the_bound_raises_and_uses_bounded_memory(
    read: Any, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed()  # before the memory is measured
    monkeypatch.setattr(following, "MOST_BYTES", 4 * MIB)
    async with RawOrigin(play) as origin, StreamRequests(f"{origin.url}/s") as stream:
        tracemalloc.start()
        try:
            batches = read(stream)
            if read is events:
                assert (await anext(batches)).offset == "9"
            with pytest.raises(ProtocolError, match=NO_CONTROL if read is events else NO_END):
                await anext(batches)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 16 * MIB


async def test_a_response_is_read_up_to_the_bound_and_refused_a_byte_beyond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with RawOrigin(bomb) as origin, StreamRequests(f"{origin.url}/s") as stream:
        monkeypatch.setattr(following, "MOST_BYTES", 32 * MIB)
        async with aclosing(whole(stream)) as batches:
            _, batch = await anext(batches)
        assert sum(map(len, batch.bodies)) == 32 * MIB
        monkeypatch.setattr(following, "MOST_BYTES", 32 * MIB - 1)
        with pytest.raises(ProtocolError):
            await anext(whole(stream))


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
    play = sends(EVENTS, DATA + b"x" * (3 * MIB) + b"\n\n" + CONTROL, times=4)
    async with RawOrigin(play) as origin, StreamRequests(f"{origin.url}/s") as stream:
        sizes = [sum(map(len, batch.bodies)) async for batch in events(stream)]
        assert sizes == [3 * MIB] * 4
