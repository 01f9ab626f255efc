"""Peers are measured where a variable names them, and only then."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.bench import peers
from tests.bench.machine import Unprepared
from tests.bench.peers import Caddy, Electric

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def none_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in peers.PEERS:
        monkeypatch.delenv(kind.variable, raising=False)


def test_a_peer_that_no_variable_names_is_left_out_and_the_report_says_so(tmp_path: Path) -> None:
    assert peers.at_hand() == []
    assert peers.on_disk(lambda: tmp_path) == []
    assert set(peers.facts().values()) == {"not measured: the variable names no program"}


def test_a_variable_that_names_no_program_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(Caddy.variable, str(tmp_path / "caddy"))
    with pytest.raises(Unprepared, match=r"BENCH_CADDY names .*caddy, which is no program"):
        peers.at_hand()


def test_a_named_peer_is_measured_in_memory_and_with_a_new_folder_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(Electric.variable, sys.executable)
    asked: list[Path] = []

    def fresh() -> Path:
        asked.append(tmp_path / str(len(asked)))
        return asked[-1]

    (plain,), (durable,) = peers.at_hand(), peers.on_disk(fresh)
    assert [make().label for make in (plain, durable, durable)] == [
        "electric",
        "electric, wal",
        "electric, wal",
    ]
    assert len(asked) == 2
    told = peers.facts()
    assert told["electric (BENCH_ELECTRIC)"].startswith("sha256 ")
    assert told["caddy (BENCH_CADDY)"].startswith("not measured")


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


@pytest.mark.parametrize("kind", peers.PEERS)
def test_a_peer_is_run_on_the_given_port_and_folder_and_is_patient(
    kind: type[peers.Peer], tmp_path: Path, notes: Path
) -> None:
    data = str(tmp_path / "data")
    with kind(tmp_path / "data") as server:
        told = notes.read_text()
        assert [it for it in (data, str(server.port), "900") if it not in told] == []
    with kind() as server:
        server.restart()
        assert data not in notes.read_text()


def test_caddy_counts_no_core_but_its_own(notes: Path) -> None:
    with Caddy():
        assert notes.read_text().endswith("GOMAXPROCS=1")
