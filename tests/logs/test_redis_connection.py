"""Packed commands: what is long goes out uncopied, and the same bytes do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.redis_url import parse_redis
from headgate_gateway.logs.redis.connection import LONG, RedisConnection, pack, size_of
from headgate_gateway.logs.redis.connector import ONLY, RedisConnector, RedisSettings
from tests.support.log_lines import capture_logs
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path

LONGER = bytes(LONG + 1)
words = st.lists(
    st.one_of(
        st.text(max_size=3), st.integers(), st.sampled_from([b"", b"\r\n", bytes(LONG), LONGER])
    ),
    min_size=1,
    max_size=5,
)


@given(words)
def test_a_packed_command_equals_that_of_hiredis(command: list[bytes | str | int]) -> None:
    packed = pack(*command)
    expected = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    assert b"".join(packed) == expected
    assert size_of([packed]) == len(expected)


@pytest.mark.parametrize(
    ("word", "pieces"),
    [pytest.param(bytes(LONG), 1, id="at-the-limit"), pytest.param(LONGER, 3, id="over-the-limit")],
)
def test_only_a_word_over_the_limit_is_a_separate_piece(word: bytes, pieces: int) -> None:
    packed = pack("SET", "key", word, "EX", 1)
    assert len(packed) == pieces
    assert any(piece is word for piece in packed) == (pieces > 1)


class Transport:
    """Keeps what it is given to write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.written += pieces


async def test_commands_are_sent_in_order_and_short_ones_in_one_write() -> None:
    connection = RedisConnection()
    transport = connection._transport = Transport()
    commands = [pack("A"), pack("B", LONGER, "C"), pack("D")]
    connection.send(commands)
    pieces = [piece for command in commands for piece in command]
    assert b"".join(transport.written) == b"".join(pieces)
    assert len(transport.written) == 3
    assert transport.written[1] is LONGER


@pytest.mark.usefixtures("processes")
async def test_simultaneous_connections_warn_once_of_a_redis_without_a_file(tmp_path: Path) -> None:
    with redis_server(tmp_path, appendonly="no") as redis, capture_logs() as lines:
        connector = RedisConnector(RedisSettings(parse_redis(redis.url)))
        connections = await asyncio.gather(*(connector.connect(ONLY) for _ in range(5)))
        for one in connections:
            one.close()
    assert [line["event"] for line in lines] == ["log.not_durable"]
