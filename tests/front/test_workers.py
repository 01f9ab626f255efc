"""Several workers behind one front: it reaches them by a socket that outlives each of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.front.fronted import Fronted, fronted
from tests.support.processes import headgate
from tests.support.waiting import wait_until

READS = 20


def workers(server: Fronted) -> list[int]:
    """The pids of the workers."""
    listed = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in listed}
    return [pid for pid, command in commands.items() if b"headgate_gateway.workers" in command]


@pytest.mark.usefixtures("processes")
def test_no_request_is_lost_while_a_worker_behind_the_front_is_killed_and_replaced(
    tmp_path: Path,
) -> None:
    with (
        headgate() as origin,
        fronted(tmp_path, origin=origin.url, arguments=["--workers", "2"]) as server,
    ):
        assert server.put("shared", "hello").status == 201
        first = workers(server)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: first[0] not in workers(server), "it is gone")
        read = "/v1/stream/shared?offset=-1"
        answers = {server.ask(read) for _ in range(READS)}
        assert answers == {("2", 200, "hello")}
        wait_until(lambda: len(workers(server)) == 2, "it is replaced")
        caddy = server.caddy
        assert server.terminate() == 0
        assert not Path(f"/proc/{caddy}").exists()
