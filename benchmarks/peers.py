"""Other servers of the protocol, measured where a variable names their program."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from abc import abstractmethod
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from benchmarks.machine import MEMORY_FOLDER, SERVER_CORE, Unprepared, told_by
from benchmarks.servers import HERE, Process, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A benchmark's readers must neither time out nor be asked to come again while it runs.
PATIENCE_S = 900
SETTLING_S = 2


class Peer(Server):
    """A server whose program `variable` names; it keeps its streams in a folder, or in memory."""

    variable: str  # not HEADGATE_...: those are settings, and Headgate refuses unknown ones

    def __init__(self, folder: Path | None = None, *, core: int = SERVER_CORE) -> None:
        super().__init__()
        self._folder = folder
        self._core = core
        self._process: Process | None = None
        self._made: Path | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        self._made = Path(tempfile.mkdtemp(prefix="headgate-bench-", dir=MEMORY_FOLDER))
        self._process = Process(self.port, *self._command(self._made), core=self._core)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
        if self._made is not None:
            shutil.rmtree(self._made)
        self._process = self._made = None

    @abstractmethod
    def _command(self, made: Path) -> Sequence[str]:
        """How it is run, with a folder in memory that goes when it does."""

    @classmethod
    def program(cls) -> str | None:
        """Its path, unless it is not to be measured.

        Raises:
            Unprepared: The variable names no program.
        """
        named = os.environ.get(cls.variable)
        if not named:
            return None
        if not os.access(named, os.X_OK):
            raise Unprepared(f"{cls.variable} names {named}, which is no program.")
        return str(Path(named).resolve())

    @classmethod
    @abstractmethod
    def version(cls, program: str) -> str:
        """Describe the program that is measured."""


class Electric(Peer):
    """Electric's server in Rust; on disk with its write-ahead log, as it comes."""

    variable = "BENCH_ELECTRIC"

    def __init__(self, folder: Path | None = None, *, core: int = SERVER_CORE) -> None:
        super().__init__(folder, core=core)
        self.label = "electric, wal" if folder else "electric"

    def _command(self, made: Path) -> Sequence[str]:
        program = self.program()
        assert program is not None, "not at hand"
        # Without its log it still writes files, and reads are served from them.
        return (
            program,
            *("--port", str(self.port)),
            *("--data-dir", str(self._folder or made)),
            *("--durability", "wal" if self._folder else "memory"),
            *("--long-poll-timeout-ms", str(PATIENCE_S * 1000)),
        )

    @classmethod
    def version(cls, program: str) -> str:
        """Return a digest of the program, which does not print its version."""
        return f"sha256 {hashlib.sha256(Path(program).read_bytes()).hexdigest()[:16]}"


class Caddy(Peer):
    """Caddy with the protocol's plugin."""

    variable = "BENCH_CADDY"
    configuration = Template((HERE / "caddy.conf").read_text())

    def __init__(self, folder: Path | None = None, *, core: int = SERVER_CORE) -> None:
        super().__init__(folder, core=core)
        self.label = "caddy plugin, files" if folder else "caddy plugin"

    def settle(self) -> None:
        """Wait two seconds: it is never idle, since it polls for each reader ten times a second."""
        time.sleep(SETTLING_S)

    def _command(self, made: Path) -> Sequence[str]:
        program = self.program()
        assert program is not None, "not at hand"
        file = made / "Caddyfile"
        file.write_text(
            self.configuration.substitute(
                port=self.port,
                store=f"data_dir {self._folder}" if self._folder else "# in memory",
                patience=f"{PATIENCE_S}s",
            )
        )
        # Go counts the machine's cores, not those that it may use.
        run = (program, "run", "--config", str(file), "--adapter", "caddyfile")
        return ("env", "GOMAXPROCS=1", f"HOME={made}", *run)

    @classmethod
    def version(cls, program: str) -> str:
        """Of Caddy; the plugin's is not in the program."""
        return told_by(program, "version").partition(" ")[0]


PEERS: tuple[type[Peer], ...] = (Electric, Caddy)


def at_hand() -> list[Callable[[], Peer]]:
    """Those that are to be measured, without a disk."""
    return [*_measured()]


def on_disk(fresh_folder: Callable[[], Path]) -> list[Callable[[], Peer]]:
    """Those that are to be measured, each with a new folder whenever it is made."""

    def make(kind: type[Peer]) -> Callable[[], Peer]:
        return lambda: kind(fresh_folder())

    return [make(kind) for kind in _measured()]


def _measured() -> list[type[Peer]]:
    return [kind for kind in PEERS if kind.program()]


def facts() -> dict[str, str]:
    """Which of them are measured, and why others are not."""
    told = {}
    for kind in PEERS:
        program = kind.program()
        name = f"{kind.__name__.lower()} ({kind.variable})"
        told[name] = (
            kind.version(program) if program else "not measured: the variable names no program"
        )
    return told
