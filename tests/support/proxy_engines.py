"""The servers that run the configurations, as processes on free loopback ports.

A new one is a class here and a line in `ENGINES`; its target is in `headgate_cdn.targets`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from headgate_cdn.targets import target
from tests.support.ports import accepts
from tests.support.processes import NODE, ROOT
from tests.support.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headgate_cdn.target import Target

CROWD = 1000
START_S = 40.0  # of the slowest, which compiles, on a busy machine
STOP_S = 10.0
SCRIPTS = ROOT / "tests" / "node"


class Engine(ABC):
    """How a server is started on a file, in a folder of its own."""

    @abstractmethod
    def command(self, file: Path, port: int) -> list[str]:
        """Serve this configuration, which is in a folder of its own, on this port."""

    @abstractmethod
    def version(self) -> list[str]:
        """Print which release it is."""

    def environment(self, folder: Path) -> Mapping[str, str]:
        """What it needs besides the environment of the tests."""
        return {}

    def is_ready(self, port: int) -> bool:
        """Return whether it serves its file on this port."""
        return accepts(port)


class Nginx(Engine):
    def command(self, file: Path, port: int) -> list[str]:
        return [program("nginx"), "-p", str(file.parent), "-c", str(file), "-e", "stderr"]

    def version(self) -> list[str]:
        return [program("nginx"), "-v"]


class Varnish(Engine):
    def command(self, file: Path, port: int) -> list[str]:
        # One thread waits with each viewer; what lives for a second is in the storage `Transient`.
        parameters = ["thread_pool_max=3000", "thread_pool_min=100", "thread_pool_add_delay=0"]
        # A busy machine makes threads more slowly than a crowd asks, and connects a crowd for
        # longer than the first of it may be idle: by default Varnish then closes connections.
        parameters += [f"thread_queue_limit={CROWD}", f"timeout_idle={PATIENCE_S:g}"]
        # To optimise what is played for a minute is two thirds of a start.
        parameters += ["cc_command=exec cc -O0 -fpic -pthread %w -shared -o %o %s"]
        return [
            *(
                program("varnishd"),
                "-F",
                "-n",
                str(file.parent / "work"),
                "-T",
                "none",
                "-j",
                "none",
            ),
            *("-f", str(file), "-a", f"127.0.0.1:{port}"),
            *("-s", "malloc,64m", "-s", "Transient=malloc,64m"),
            *(word for parameter in parameters for word in ("-p", parameter)),
        ]

    def version(self) -> list[str]:
        return [program("varnishd"), "-V"]


class HAProxy(Engine):
    def command(self, file: Path, port: int) -> list[str]:
        return [program("haproxy"), "-db", "-f", str(file)]

    def version(self) -> list[str]:
        return [program("haproxy"), "-v"]


class Caddy(Engine):
    def command(self, file: Path, port: int) -> list[str]:
        return [program("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]

    def environment(self, folder: Path) -> Mapping[str, str]:
        return {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}

    def version(self) -> list[str]:
        return [program("caddy"), "version"]


class Envoy(Engine):
    def command(self, file: Path, port: int) -> list[str]:
        # Of the wheel; its own script would download another one.
        envoy = str(resources.files("envoy").joinpath("_bin", "envoy"))
        return [
            envoy,
            "-c",
            str(file),
            "--use-dynamic-base-id",
            "--concurrency",
            "2",
            "-l",
            "error",
        ]

    def version(self) -> list[str]:
        # It says its path, in which there is a version of Python, then HASH/VERSION/....
        return ["sh", "-c", f"{self.command(Path(), 0)[0]} --version | cut -d: -f2"]


class Traefik(Engine):
    def command(self, file: Path, port: int) -> list[str]:
        return [
            str(Path(sys.executable).with_name("traefik")),
            f"--providers.file.filename={file}",
            f"--entryPoints.headgate.address=:{port}",
            "--entryPoints.headgate.transport.respondingTimeouts.readTimeout=300s",
            "--log.level=ERROR",
        ]

    def version(self) -> list[str]:
        return [self.command(Path(), 0)[0], "version"]

    @override
    def is_ready(self, port: int) -> bool:
        # It accepts before it has read its file.
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=0.5).close()
        except TimeoutError:
            return True  # it has passed the request on
        except urllib.error.HTTPError as error:
            return error.read() != b"404 page not found\n"
        except OSError:
            return False
        return True


class Workerd(Engine):
    """What Cloudflare's Workers run in."""

    def command(self, file: Path, port: int) -> list[str]:
        return [str(NODE), str(SCRIPTS / "worker_engine.mjs"), str(file), str(port)]

    def version(self) -> list[str]:
        return _of_package("workerd")


class NodeFunction(Engine):
    """Node.js, in which Vercel runs functions, with a server that hands requests over to one."""

    def command(self, file: Path, port: int) -> list[str]:
        return [str(NODE), str(SCRIPTS / "function_engine.mjs"), str(file), str(port)]

    def version(self) -> list[str]:
        return [str(NODE), "--version"]


ENGINES: Mapping[str, Engine] = {
    "nginx": Nginx(),
    "nginx-njs": Nginx(),
    "varnish": Varnish(),
    "haproxy": HAProxy(),
    "caddy": Caddy(),
    "envoy": Envoy(),
    "traefik": Traefik(),
    "cloudflare-worker": Workerd(),
    "cloudflare-durable": Workerd(),
    "vercel": NodeFunction(),
}
"""By the target whose configuration they run."""


def run_here(name: str) -> Target:
    """A target as an engine runs it on this machine, where no cache of its vendor is before it.

    So it may have a gateway at a loopback address, and origins that tell their readers apart.
    """
    return msgspec.structs.replace(target(name), is_elsewhere=False, keeps_readers_apart=True)


def program(name: str) -> str:
    """Where a server is; Debian has most of them where only root looks."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert found is not None, f"{name} is not installed; `scripts/system.sh test` says how"
    return found


def _of_package(name: str) -> list[str]:
    """Print its release, as it is installed."""
    file = SCRIPTS / "node_modules" / name / "package.json"
    return [str(NODE), "-p", f"'{name} ' + require('{file}').version"]


def release(engine: Engine) -> str:
    """Its name, and which version it says it is."""
    said = subprocess.run(engine.version(), capture_output=True, text=True, check=True)
    number = re.search(r"\d+\.\d+[.\d]*", said.stdout + said.stderr)
    assert number is not None, said
    return f"{type(engine).__name__} {number[0]}"


@contextlib.contextmanager
def started(engine: Engine, files: Mapping[str, str], port: int) -> Iterator[Path]:
    """The server's folder, when it accepts; both are gone when the block ends.

    The first file is its configuration, the others lie beside it.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-cdn-") as made, contextlib.ExitStack() as end:
        folder = Path(made)
        folder.chmod(0o711)  # what root starts may serve as somebody else
        for name, text in files.items():
            (folder / name).write_text(text)
        file = folder / next(iter(files))
        environment = engine.environment(folder)
        command = engine.command(file, port)
        end.enter_context(running(command, port, environment, engine.is_ready))
        yield folder


@contextlib.contextmanager
def running(
    command: list[str],
    port: int,
    environment: Mapping[str, str],
    is_ready: Callable[[int], bool] = accepts,
) -> Iterator[None]:
    """A process that serves on this port; it is stopped when the block ends."""
    with tempfile.TemporaryDirectory(prefix="headgate-cdn-") as made, contextlib.ExitStack() as end:
        folder = Path(made)
        log = end.enter_context((folder / "log").open("w+"))
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        end.callback(_stop, process)
        wait_until(
            lambda: process.poll() is not None or is_ready(port),
            f"{Path(command[0]).name} to serve",
            (folder / "log").read_text,
            within_s=START_S,
        )
        assert process.poll() is None, (folder / "log").read_text()
        yield


def _stop(process: subprocess.Popen[bytes]) -> None:
    """In order, so that a manager ends its children; then whoever is left of its session."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
