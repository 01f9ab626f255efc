"""A server that is to crash in the midst of a write does so, there where it was told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from tests.faults.redis_torture import EVERY_WRITE
from tests.faults.tears import arm, await_tear, tearable
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
LARGE = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$200\r\n" + 200 * b"x" + b"\r\n"
SMALL = b"*3\r\n$5\r\nLPUSH\r\n$3\r\nall\r\n$1\r\n1\r\n"
EXEC = b"*1\r\n$4\r\nEXEC\r\n"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("number", "torn"),
    [
        (0, MULTI[:1]),
        pytest.param(1, MULTI + LARGE[:1], id="one-byte-of-the-second-command"),
        pytest.param(3, MULTI + LARGE + SMALL + EXEC[:1], id="one-byte-of-the-last-command"),
        pytest.param(4 * 13, MULTI[:-1], id="one-byte-is-absent-from-the-first-command"),
        (4 * 14, MULTI[:1]),
        pytest.param(
            4 * 12 + 3,
            MULTI + LARGE + SMALL + EXEC[:-1],
            id="one-byte-is-absent-from-the-last-command",
        ),
    ],
)
def test_the_tear_number_selects_the_command_and_the_byte_where_the_write_ends(
    tmp_path: Path, number: int, torn: bytes
) -> None:
    with redis_server(tmp_path, tearable(tmp_path), **EVERY_WRITE) as server:
        file = next(tmp_path.glob("appendonlydir/*.incr.aof"))
        arm(server, number)
        server.command("SET", "key", "what is written by less than a commit")
        before = file.read_bytes()
        with server.client() as client, client.pipeline() as transaction:
            transaction.set("key", 200 * "x").lpush("all", 1)
            with pytest.raises(redis.ConnectionError):
                transaction.execute()
        await_tear(server)
        assert file.read_bytes() == before + torn
        server.start()
        assert server.command("GET", "key") == b"what is written by less than a commit"
