"""A server on a system without the parts of Linux that Headgate uses where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import Wire, ask, request
from tests.support.processes import ANEW, headgate

if TYPE_CHECKING:
    from pathlib import Path

# What Python runs first: these calls are gone, and nothing of /proc can be read.
WITHOUT = """
import os, select, sys
del os.memfd_create, os.posix_fallocate, select.epoll
sys.platform = "other"

def refuse(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith("/proc"):
        raise FileNotFoundError(arguments[0])

sys.addaudithook(refuse)
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_server_without_the_parts_of_linux_serves_streams_and_says_what_is_lost(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    origin = "memory:" if kind == "memory" else f"file:{tmp_path / 'data'}"
    without = (*ANEW, f"PYTHONPATH={tmp_path}")
    with headgate(origin, preface=without) as server:
        stream = "/v1/stream/s"
        text = {"content_type": "text/plain"}
        assert ask(server.port, "PUT", stream, b"one", **text).status == 201
        assert ask(server.port, "POST", stream, b"two", **text).status == 204
        assert ask(server.port, "GET", f"{stream}?offset=-1").body == b"onetwo"
        with Wire(server.port) as wire:
            wire.send(request("GET", f"{stream}?offset=-1&live=sse"))
            assert wire.head().status == 200
            assert b"onetwo" in wire.chunk()
        assert ask(server.port, "DELETE", stream).status == 204
        (line,) = [it for it in server.output().splitlines() if "server.not_on_linux" in it]
        assert "several workers" in line
        assert "metrics of the process" in line
