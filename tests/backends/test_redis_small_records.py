"""A chunk of very many records does not keep the event loop from turning."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.backends.redis_rows import AT_ONCE, joined
from gateway.backends.redis_wire import MUCH, Wire
from gateway.protocol.state import Segment

if TYPE_CHECKING:
    from gateway.backends.redis_wire import Reply

PLACES = [(Segment(1, 1 << 40, "s"), 0)]


def entries(count: int, start: int = 0) -> Reply:
    """What Redis replies for so many records of two bytes."""
    return [[b"%d-1" % (start + 2 * n), [b"d", b"%02d" % (n % 100)]] for n in range(count)]


def datas(count: int) -> tuple[bytes, ...]:
    return tuple(b"%02d" % (n % 100) for n in range(count))


@pytest.mark.parametrize("count", [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
async def test_others_have_their_turn_after_so_many_records(count: int) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    reply = entries(count)
    assert await joined(PLACES, [reply], 0) == datas(count)
    assert turns == max(0, (count - 1) // AT_ONCE)
    assert reply == []
    turning.cancel()


@pytest.mark.parametrize("missing", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1])
async def test_what_is_missing_ends_it_wherever_it_is(missing: int) -> None:
    reply = entries(2 * AT_ONCE)
    del reply[missing]
    assert await joined(PLACES, [reply], 0) == datas(2 * AT_ONCE)[:missing]


async def test_two_places_follow_each_other() -> None:
    count = AT_ONCE + 1
    places = [(Segment(1, 2 * count, "source"), 0), (Segment(2, 1 << 40, "s"), 2 * count)]
    replies = [entries(count), entries(2, 2 * count)]
    assert await joined(places, replies, 0) == datas(count) + datas(2)


@pytest.mark.parametrize("size", [MUCH - 1, MUCH])
async def test_others_have_their_turn_after_much_input(size: int) -> None:
    """A real transport, and what a loop that reads on and on gives to its protocol."""
    ours, theirs = socket.socketpair()
    heard: list[Reply] = []
    with theirs:
        theirs.setblocking(False)
        wire = Wire(heard.extend, lambda _: None)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: wire, sock=ours)
        wire._transport = transport
        begin = b"$%d\r\n" % (2 * MUCH)
        wire.data_received(begin + b"x" * (size - len(begin)))
        assert transport.is_reading() == (size < MUCH)
        await asyncio.sleep(0)
        assert transport.is_reading()
        rest = b"x" * (2 * MUCH - (size - len(begin))) + b"\r\n"
        async with asyncio.timeout(30):
            await asyncio.get_running_loop().sock_sendall(theirs, rest)
            while not heard:
                await asyncio.sleep(0)
        assert heard == [b"x" * 2 * MUCH]
        wire.data_received(b"+" + b"x" * MUCH)
        wire.close()  # before its turn has come
        await asyncio.sleep(0)
        assert not wire.is_open
