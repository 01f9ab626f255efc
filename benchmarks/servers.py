"""The servers that are measured, each started alone on its core and stopped afterwards."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from benchmarks.machine import MEMORY_FOLDER, NCHAN_MODULE, SERVER_CORE, Unprepared, program
from benchmarks.tools import ToolFailed, settle
from tests.support.http1 import Answer, Wire, ask
from tests.support.ports import accepts, free_port
from tests.support.processes import HEADGATE, NODE, ROOT, Headgate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

START_TIMEOUT_S = 20.0


def on_core(core: int) -> tuple[str, ...]:
    """Return the words before a command that is to run on one core."""
    return ("taskset", "--cpu-list", str(core))


PINNED = on_core(SERVER_CORE)
HERE = Path(__file__).parent
# A benchmark's readers must neither time out nor be asked to come again while it runs, and they are
# 8,000 clients with one address.
PATIENT = {
    "HEADGATE_LIVE__LONG_POLL_TIMEOUT": "60",
    "HEADGATE_LIVE__SSE_MAX_AGE": "900",
    "HEADGATE_LIMITS__MAX_CONNECTIONS": "20000",
    "HEADGATE_LIMITS__MAX_CLIENT_CREATIONS": "1000000",
    "HEADGATE_SUBSCRIPTIONS__MAX_PER_CLIENT": "10000",
}


class Server(ABC):
    """A server under measurement. `pid` is the process that does the work."""

    label: str

    def __init__(self) -> None:
        self.port = free_port()

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process whose time and memory count."""

    @abstractmethod
    def start(self) -> None:
        """Start and wait until requests are taken."""

    @abstractmethod
    def stop(self) -> None:
        """End every process that `start` made."""

    def restart(self) -> None:
        """Start anew, with what is on disk."""
        self.stop()
        self.start()

    def settle(self) -> None:
        """Wait until it has nothing left to do, as all its readers wait."""
        settle(self.pid)

    @property
    def append_port(self) -> int:
        """Where events are posted to."""
        return self.port

    def append_path(self, stream: str) -> str:
        """Return the path that events are posted to."""
        return f"/v1/stream/{stream}"

    def events_path(self, stream: str) -> str:
        """Where server-sent events are read from the beginning of the stream."""
        return f"/v1/stream/{stream}?offset=-1&live=sse"

    def create(self, stream: str, content_type: str, body: bytes = b"") -> None:
        """Make a stream."""
        headers = {"Content-Type": content_type}
        answer = self.request("PUT", self.append_path(stream), body, headers)
        if answer.status != 201:
            raise ToolFailed(f"{self.label}: creating {stream}: {answer}")

    def create_all(self, streams: Iterable[str], content_type: str) -> None:
        """Make many streams."""
        with Wire(self.port) as wire:
            for stream in streams:
                path = self.append_path(stream)
                answer = wire.request("PUT", path, b"", content_type=content_type)
                if answer.status != 201:
                    raise ToolFailed(f"{self.label}: creating {stream}: {answer.status}")

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        has_body = body or method in {"PUT", "POST"}
        return ask(self.port, method, path, body if has_body else None, **(headers or {}))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


class HeadgateServer(Server):
    """Headgate as `headgate serve` runs it."""

    def __init__(
        self,
        origin: str,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        preface: Sequence[str] = PINNED,
        program: Path = HEADGATE,
    ) -> None:
        super().__init__()
        self.label = f"headgate {origin.partition(':')[0]}:"
        self._headgate = Headgate(
            origin,
            arguments=arguments,
            environment={**PATIENT, **(environment or {})},
            preface=preface,
            program=program,
        )
        self.port = self._headgate.port
        self.admin_port = self._headgate.admin_port

    @property
    def pid(self) -> int:
        return self._headgate.pid

    def start(self) -> None:
        try:
            self._headgate.start()
        except AssertionError as error:
            raise Unprepared(str(error)) from error

    def stop(self) -> None:
        self._headgate.kill()


class Process:
    """A child process on one core; its complaints go where ours go."""

    def __init__(self, port: int, *command: str, core: int = SERVER_CORE) -> None:
        self._child = subprocess.Popen([*on_core(core), *command], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not accepts(port):
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Unprepared(f"{command[0]} did not start")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        return self._child.pid

    def child(self, title: str) -> int:
        """Find the process with this title that this one has started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for pid in children.read_text().split():
                if title in Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
            time.sleep(0.01)
        raise Unprepared(f"process {self.pid} has no child called {title}")

    def stop(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class Reference(Server):
    """The protocol's reference server, in memory or with its store of files."""

    def __init__(self, folder: Path | None = None, *, core: int = SERVER_CORE) -> None:
        super().__init__()
        self.label = "reference, files" if folder else "reference"
        self._folder = folder
        self._core = core
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        folder = [str(self._folder)] if self._folder else []
        script = str(ROOT / "tests" / "node" / "reference.mjs")
        command = (str(NODE), script, str(self.port), *folder)
        self._process = Process(self.port, *command, core=self._core)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()


class Nginx(Server):
    """An nginx of one worker, which does the work, with a configuration of ours."""

    configuration: Template
    core = SERVER_CORE

    def __init__(self) -> None:
        super().__init__()
        self._process: Process | None = None
        self._folder: Path | None = None
        self._worker = 0

    @property
    def pid(self) -> int:
        assert self._worker, "not started"
        return self._worker

    def start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="headgate-bench-", dir=MEMORY_FOLDER))
        self._folder.chmod(0o755)  # the worker is not root
        file = self._folder / "nginx.conf"
        file.write_text(self.configuration.substitute(self._values(self._folder)))
        self._process = Process(self.port, program("nginx"), "-c", str(file), core=self.core)
        self._worker = self._process.child("nginx: worker process")

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def _values(self, folder: Path) -> dict[str, str]:
        return {"port": str(self.port), "folder": str(folder)}


class Nchan(Nginx):
    """nginx with nchan, its messages in memory."""

    label = "nchan"
    configuration = Template((HERE / "nchan.conf").read_text())

    def append_path(self, stream: str) -> str:
        return f"/publish/{stream}"

    def events_path(self, stream: str) -> str:
        return f"/subscribe/{stream}"

    @override
    def create(self, stream: str, content_type: str, body: bytes = b"") -> None:
        """Make nothing: a channel begins with its first message or reader."""
        assert not body, "a channel starts empty"

    def _values(self, folder: Path) -> dict[str, str]:
        return {**super()._values(folder), "module": str(NCHAN_MODULE)}
