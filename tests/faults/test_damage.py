"""Bits that flip on the disk are noticed: damaged bytes are refused, all others are served."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import append, content, create
from tests.support.examples import cases
from tests.support.http1 import Answer, ask
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path

APPENDS = 30


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("seed", cases(range(5), {1, 2}, "other seeds"))
def test_a_flipped_bit_on_disk_is_not_served_and_other_streams_stay_readable(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    # So long that each is a row of its own: short ones are filed together.
    bodies = [chance.randbytes(chance.randint(1100, 4000)).hex().encode() for _ in range(APPENDS)]
    with headgate(f"file:{tmp_path}") as server:
        create(server, "healthy", b"unharmed")
        create(server, "damaged")
        offsets = [append(server, "damaged", body).next_offset for body in bodies]
        assert server.terminate() == 0
    hit = _flip_a_bit(tmp_path / "headgate.db", chance)
    with headgate(f"file:{tmp_path}") as server:
        _assert_damage(ask(server.port, "GET", "/v1/stream/damaged"))
        for start, offset in enumerate(["-1", *offsets]):
            answer = ask(server.port, "GET", f"/v1/stream/damaged?offset={offset}")
            if start > hit:
                assert (answer.status, answer.body) == (200, b"".join(bodies[start:]))
            else:
                _assert_damage(answer)
        live = ask(server.port, "GET", "/v1/stream/damaged?offset=-1&live=long-poll")
        _assert_damage(live)
        assert content(server, "healthy") == b"unharmed"
        assert append(server, "healthy", b" still").status == 204
        assert content(server, "healthy") == b"unharmed still"


def _assert_damage(answer: Answer) -> None:
    answer.assert_problem(500, "damaged")
    assert answer.headers["cache-control"] == "no-store"


def _flip_a_bit(file: Path, chance: random.Random) -> int:
    """Change one bit of one stored append of the stream "damaged"; returns which append."""
    with closing(sqlite3.connect(file)) as connection, connection:
        rows = connection.execute(
            "select stream, end, data from messages where stream ="
            " (select id from streams where path like '%damaged') order by end"
        ).fetchall()
        assert len(rows) == APPENDS
        hit = chance.randrange(APPENDS)
        stream, end, data = rows[hit]
        damaged = bytearray(data)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        connection.execute(
            "update messages set data = ? where stream = ? and end = ?",
            (bytes(damaged), stream, end),
        )
    return hit
