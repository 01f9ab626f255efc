"""The counters of created, expired and deleted streams, as Prometheus reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import ask
from tests.support.processes import headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

STREAMS = "/v1/stream"


def counted(server: Headgate) -> dict[str, int]:
    """Return how many streams were created, expired and deleted, as `/metrics` says."""
    text = ask(server.admin_port, "GET", "/metrics").body.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {
        fate: int(float(lines[f'headgate_streams_{fate}_total{{route="{STREAMS}"}}']))
        for fate in ("created", "expired", "deleted")
    }


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("origin", ["memory:", "file:"])
def test_each_creation_expiry_and_deletion_is_counted_once(origin: str, tmp_path: Path) -> None:
    with headgate(origin if origin == "memory:" else f"file:{tmp_path / 'data'}") as server:
        assert counted(server) == {"created": 0, "expired": 0, "deleted": 0}

        def create(name: str, status: int = 201, **headers: str) -> None:
            path = f"{STREAMS}/{name}"
            answer = ask(server.port, "PUT", path, b"", content_type="text/plain", **headers)
            assert answer.status == status, answer

        create("a")
        create("a", 200)  # it is there already
        create("fork", stream_forked_from=f"{STREAMS}/a")
        create("short", stream_ttl="1")
        assert ask(server.port, "DELETE", f"{STREAMS}/fork").status == 204
        assert ask(server.port, "DELETE", f"{STREAMS}/fork").status == 404
        wait_until(lambda: counted(server)["expired"] == 1, told=server.output)
        assert counted(server) == {"created": 3, "expired": 1, "deleted": 1}
