"""A chunk of very many records does not keep the event loop from turning."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.redis import records as redis_records
from headgate_gateway.logs.redis.connection import MUCH, RedisConnection
from headgate_gateway.logs.redis.records import Run, Stretch
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.connection import Reply

ALL = 1 << 40
WHOLE = Stretch(1, "s", 0, ALL)


def entries(count: int, start: int = 0) -> Reply:
    """What Redis replies for so many records of two bytes."""
    return [[b"%d-7" % (start + 2 * n), [b"d", b"%02d" % (n % 100)]] for n in range(count)]


def datas(count: int) -> list[bytes]:
    return [b"%02d" % (n % 100) for n in range(count)]


MANY = 5


@pytest.fixture
def always_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is over after each entry."""
    monkeypatch.setattr(redis_records, "LONGEST_TURN_S", 0.0)


async def _turns_while(run: Run, reply: Reply) -> int:
    """How often others have their turn while a reply is taken."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await run.extend(WHOLE, reply, ALL)
    turning.cancel()
    return turns


@pytest.mark.usefixtures("always_long")
@pytest.mark.parametrize("count", [0, 1, 2, MANY])
async def test_decoding_many_records_yields_to_other_tasks_between_entries(count: int) -> None:
    reply = entries(count)
    run = Run(0)
    assert await _turns_while(run, reply) == max(0, count - 1)
    assert run.datas == datas(count)
    assert reply == []


async def test_quickly_decoded_records_take_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_records, "LONGEST_TURN_S", 3600.0)
    run = Run(0)
    assert await _turns_while(run, entries(10_000)) == 0
    assert run.datas == datas(10_000)


# ---------------------------------------------------------------- what counts of what is found


Found = list[tuple[str, tuple[bytes, ...]]]


def found(*ones: tuple[str, tuple[bytes, ...]]) -> list[Reply]:
    """What Redis replies for commits of these records."""
    replies = []
    for name, records in ones:
        lengths = " ".join(str(len(record)) for record in records).encode()
        several = [b"n", lengths] if len(records) > 1 else []
        replies.append([name.encode(), [b"d", b"".join(records), *several]])
    return replies


@pytest.mark.parametrize(
    ("ones", "start", "tail", "taken"),
    [
        ([("0-1", (b"ab", b"c")), ("3-2", (b"de",))], 0, 5, (b"ab", b"c", b"de")),
        ([("0-1", (b"ab", b"c")), ("3-2", (b"de",))], 2, 5, (b"c", b"de")),
        ([("0-1", (b"ab", b"c"))], 1, 3, (b"ab", b"c")),  # from inside a record
        ([("0-1", (b"ab", b"cd"))], 3, 4, (b"cd",)),
        ([("0-1", (b"zzz",)), ("0-2", (b"ab", b"c"))], 1, 3, (b"ab", b"c")),
        ([("0-1", (b"ab",)), ("3-2", (b"de",))], 0, 5, (b"ab",)),  # one is missing
        # What a crash kept from being committed, and Redis added all the same.
        ([("0-1", (b"ab",)), ("2-2", (b"zzz", b"z"))], 0, 2, (b"ab",)),
        pytest.param(
            [("0-1", (b"ab",)), ("2-2", (b"zzz", b"z")), ("2-3", (b"c",))],
            0,
            3,
            (b"ab", b"c"),
            id="an-uncommitted-entry-between-two",
        ),
        pytest.param(
            [("0-1", (b"zzz",)), ("0-2", (b"z",)), ("0-3", (b"c", b"d"))],
            0,
            2,
            (b"c", b"d"),
            id="two-uncommitted-entries-before-one",
        ),
        pytest.param(
            [("0-1", (b"z",)), ("0-2", (b"c", b"d")), ("2-3", (b"e",))],
            1,
            3,
            (b"d", b"e"),
            id="an-uncommitted-entry-before-two",
        ),
    ],
)
async def test_only_committed_records_of_an_entry_are_returned(
    ones: Found, start: int, tail: int, taken: tuple[bytes, ...]
) -> None:
    run = Run(start)
    await run.extend(Stretch(1, "s", start, ALL), found(*ones), tail)
    assert run.datas == list(taken)
    assert run.start <= start
    assert run.position == run.start + sum(map(len, taken))


@pytest.mark.usefixtures("always_long")
@pytest.mark.parametrize("at", range(MANY))
async def test_the_later_of_two_entries_for_one_position_is_used(at: int) -> None:
    reply = entries(MANY)
    reply.insert(at, [b"%d-1" % (2 * at), [b"d", b"never"]])
    run = Run(0)
    await run.extend(WHOLE, reply, ALL)
    assert run.datas == datas(MANY)


@pytest.mark.parametrize("size", [MUCH - 1, MUCH])
async def test_reading_pauses_for_one_turn_after_much_input(size: int) -> None:
    """A real transport, and what a loop that reads on and on gives to its protocol."""
    ours, theirs = socket.socketpair()
    heard: list[Reply] = []
    with theirs:
        theirs.setblocking(False)
        redis_connection = RedisConnection()
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: redis_connection, sock=ours
        )
        redis_connection.start(heard.extend, lambda _: None)
        begin = b"$%d\r\n" % (2 * MUCH)
        redis_connection.data_received(begin + b"x" * (size - len(begin)))
        assert transport.is_reading() == (size < MUCH)
        await asyncio.sleep(0)
        assert transport.is_reading()
        rest = b"x" * (2 * MUCH - (size - len(begin))) + b"\r\n"
        async with asyncio.timeout(30):
            await asyncio.get_running_loop().sock_sendall(theirs, rest)
            await until(lambda: bool(heard))
        assert heard == [b"x" * 2 * MUCH]
        redis_connection.data_received(b"+" + b"x" * MUCH)
        redis_connection.close()  # before its turn has come
        await asyncio.sleep(0)
        assert not redis_connection.is_open
