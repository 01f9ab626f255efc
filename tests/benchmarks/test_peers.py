"""Peers are measured where a variable names them, and only then."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import peers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def none_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in peers.PEERS:
        monkeypatch.delenv(kind.variable, raising=False)


def test_a_bench_peer_without_its_variable_is_reported_as_not_measured(tmp_path: Path) -> None:
    assert peers.at_hand() == []
    assert peers.on_disk(lambda: tmp_path) == []
    assert set(peers.facts().values()) == {"not measured: the variable names no program"}


# What a peer's program is told, by a program that writes it down and listens as a server does.
PROGRAM = """#!{python}
import os, re, socket, sys, time
words = sys.argv[1:]
text = " ".join(words)
if "--config" in words:
    text += open(words[words.index("--config") + 1]).read()
with open("{notes}", "w") as notes:
    notes.write(text + " GOMAXPROCS=" + os.environ.get("GOMAXPROCS", ""))
port = int(re.search(r"(?:--port |http://:)(\\d+)", text)[1])
listener = socket.create_server(("127.0.0.1", port))
time.sleep(3600)
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the program that all variables name has written down."""
    notes, program = tmp_path / "notes", tmp_path / "program"
    program.write_text(PROGRAM.format(python=sys.executable, notes=notes))
    program.chmod(0o755)
    for kind in peers.PEERS:
        monkeypatch.setenv(kind.variable, str(program))
    return notes


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", peers.PEERS)
def test_a_bench_peer_runs_on_its_port_and_folder_with_long_timeouts(
    kind: type[peers.Peer], tmp_path: Path, notes: Path
) -> None:
    data = str(tmp_path / "data")
    with kind(tmp_path / "data") as server:
        told = notes.read_text()
        assert [it for it in (data, str(server.port), "900") if it not in told] == []
    with kind() as server:
        server.restart()
        assert data not in notes.read_text()
