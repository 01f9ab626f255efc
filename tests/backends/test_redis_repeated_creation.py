"""A creation that is sent again after others have used its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.backends.redis_rows import Calls, Names
from tests.backends.contract import created, removed
from tests.backends.redis_logs import connected
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path


class Sharded:
    sharded = True


async def test_a_creation_does_not_bring_back_what_was_removed_since(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        async with connected(server.url) as log:
            change = created(log, "s", b"one", generation=7)
            await log.commit([change])
            await log.commit([removed(change.state)])
            calls = Calls(Names("headgate"), Sharded(), "0" * 8)
            answer = server.command(*words(calls.commit(change, 1)))
            assert answer[0] == 0
            assert (await log.load("s")).place.state is None


def words(packed: bytes) -> list[bytes]:
    """The words of a packed command."""
    found, rest = [], packed.partition(b"\r\n")[2]
    while rest:
        length, _, rest = rest[1:].partition(b"\r\n")
        found.append(rest[: int(length)])
        rest = rest[int(length) + 2 :]
    return found
