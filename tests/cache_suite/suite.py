"""The suite: its own origin, the cache in front of that, and its own client, which judges."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.settings import load
from tests.cdn.candidates import Candidate
from tests.support.given_settings import variables
from tests.support.ports import accepts, free_port
from tests.support.processes import NODE, ROOT, Headgate
from tests.support.proxy_engines import started
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headgate_gateway.settings import Settings

CLIENT = Path(__file__).with_name("client.mjs")
# The copy on npm is of 2021; a checkout of the repository is newer.
NPM_COPY = ROOT / "tests" / "node" / "node_modules" / "http-cache-tests"
KINDS = ("required", "optimal", "check")
TIMEOUT_S = 240
START_TIMEOUT_S = 20


Cache = Callable[[int], AbstractContextManager[str]]
"""Starts a cache in front of the port of an origin, and has the base URL of the cache."""


class Result(msgspec.Struct, frozen=True):
    """One test: `why` it failed, None when it passed."""

    id: str
    suite: str
    kind: str
    depends_on: list[str]
    why: str | None


def run(folder: Path, cache: Cache, ids: Iterable[str] = ()) -> list[Result]:
    """Run the named tests, or all, through a cache, and return the result of each.

    The cache is started in front of the origin's port.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        _origin(folder, Path(scratch)) as port,
        cache(port) as base_url,
    ):
        report = Path(scratch) / "report.json"
        client = subprocess.run(
            [NODE, "--no-warnings", str(CLIENT), str(folder), base_url, str(report), *ids],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert report.exists(), client.stdout.decode(errors="replace")
        return msgspec.json.decode(report.read_bytes(), type=list[Result])


class _Gateway(Headgate):
    """A Headgate with routes for the paths that the suite uses, and the default settings."""

    def __init__(self, origin_port: int) -> None:
        origin = f"http://127.0.0.1:{origin_port}"
        routes = [{"prefix": path, "origin": origin} for path in ("/test", "/config", "/state")]
        self.settings: Settings = load(None, variables({"routes": routes}), {})
        super().__init__()
        self.serve_routes(*routes)


@contextlib.contextmanager
def behind_headgate(origin_port: int) -> Iterator[str]:
    """Yield the base URL of a Headgate in front of the suite's origin."""
    gateway = _Gateway(origin_port)
    try:
        yield gateway.start().url
    finally:
        gateway.close()


@contextlib.contextmanager
def behind_target(name: str, origin_port: int) -> Iterator[str]:
    """Yield the base URL of a target's rendered file in its server, in front of a Headgate."""
    gateway = _Gateway(origin_port)
    port = free_port()
    candidate = Candidate(name)
    try:
        gateway.start()
        with started(candidate.engine, candidate.files(port, gateway), port):
            yield f"http://127.0.0.1:{port}"
    finally:
        gateway.close()


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
