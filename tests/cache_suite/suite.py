"""The suite: its own origin, the cache in front of that, and its own client, which judges."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.support.ports import accepts, free_port
from tests.support.processes import NODE, ROOT, Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENT = Path(__file__).with_name("client.mjs")
# The copy on npm is of 2021; a checkout of the repository is newer.
NPM_COPY = ROOT / "tests" / "node" / "node_modules" / "http-cache-tests"
KINDS = ("required", "optimal", "check")
TIMEOUT_S = 240
START_TIMEOUT_S = 20


class Result(msgspec.Struct, frozen=True):
    """One test: `why` it failed, None when it passed."""

    id: str
    suite: str
    kind: str
    depends_on: list[str]
    why: str | None


def run(
    folder: Path, cache: Callable[[int], contextlib.AbstractContextManager[str]]
) -> list[Result]:
    """What each test gives through a cache, which is started in front of the origin's port."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        _origin(folder, Path(scratch)) as port,
        cache(port) as base_url,
    ):
        report = Path(scratch) / "report.json"
        client = subprocess.run(
            [NODE, "--no-warnings", str(CLIENT), str(folder), base_url, str(report)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert report.exists(), client.stdout.decode(errors="replace")
        return msgspec.json.decode(report.read_bytes(), type=list[Result])


@contextlib.contextmanager
def behind_headgate(origin_port: int) -> Iterator[str]:
    """The base URL of a Headgate with routes for the paths that the suite uses."""
    routes = "".join(
        f'[[routes]]\nprefix = "{path}"\norigin = "http://127.0.0.1:{origin_port}"\n'
        for path in ("/test", "/config", "/state")
    )
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "headgate.toml"
        config.write_text(routes)
        server = Headgate(arguments=("--config", str(config)))
        at = server.arguments.index("--storage")
        del server.arguments[at : at + 2]  # one origin and a table of routes exclude each other
        try:
            yield server.start().url
        finally:
            server.close()


@contextlib.contextmanager
def behind_nginx(origin_port: int) -> Iterator[str]:
    """The base URL of an nginx with its own rules for what is cached."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        template = Path(__file__).with_name("nginx.conf").read_text()
        config.write_text(
            template.replace("FOLDER", folder)
            .replace("ORIGIN", f"127.0.0.1:{origin_port}")
            .replace("LISTEN", f"127.0.0.1:{port}")
        )
        with _process(["nginx", "-p", folder, "-c", str(config)], port):
            yield f"http://127.0.0.1:{port}"


def passed(results: list[Result]) -> Counter[str]:
    """How many tests of each kind passed."""
    return Counter(result.kind for result in results if result.why is None)


def failed(results: list[Result], kinds: tuple[str, ...]) -> dict[str, str]:
    """Which tests of some kinds failed, and why."""
    return {
        result.id: result.why
        for result in results
        if result.kind in kinds and result.why is not None
    }


@contextlib.contextmanager
def _origin(folder: Path, scratch: Path) -> Iterator[int]:
    """The port of the suite's own server."""
    port = free_port()
    scripts = (folder / "test-engine" / "server", folder / "server")
    script = next(path for path in scripts if path.exists()) / "server.mjs"
    environment = {
        **os.environ,
        "npm_config_protocol": "http",
        "npm_config_port": str(port),
        "npm_config_pidfile": str(scratch / "server.pid"),
    }
    with _process([str(NODE), str(script)], port, environment):
        yield port


@contextlib.contextmanager
def _process(
    command: list[str], port: int, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """A program that listens on a port, killed when the block ends."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: accepts(port), f"{command} to listen")
        yield
    finally:
        process.terminate()
        process.wait()
