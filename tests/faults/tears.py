"""Redis servers that crash in the midst of a write to their append-only file."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

from tests.faults import native
from tests.support.redis_servers import DEADLINE_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

_TRIGGER = "tear"


def tearable(folder: Path) -> dict[str, str]:
    """The environment of servers that can be torn; what it takes is compiled into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    # Each server works in a folder of its own.
    return {"LD_PRELOAD": str(native.preload("tear", folder)), "TEAR_TRIGGER": _TRIGGER}


def arm(server: RedisServer, number: int) -> None:
    """Let the next commit be the last, of which a part is written; the number chooses which."""
    new = server.folder / "new"
    new.write_text(f"{number}\n")
    new.rename(server.folder / _TRIGGER)


def await_tear(server: RedisServer) -> None:
    """Wait until a server that was armed has ended."""
    assert server.process is not None, "not started"
    try:
        status = server.process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{server!r} wrote no commit:\n{server.output()[-3000:]}") from None
    assert status == -signal.SIGKILL, (server, status, server.output()[-3000:])
