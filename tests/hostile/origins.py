"""Three kinds of server as origins, each of which passes on to one that counts what arrives."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from tests.commands.nginx import nginx
from tests.support.given_settings import variables
from tests.support.ports import accepts, free_port
from tests.support.processes import Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiohttp.web_request import BaseRequest

KINDS = ("aiohttp", "nginx", "haproxy")
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend front
    bind 127.0.0.1:{port}
    default_backend behind
backend behind
    http-reuse always
    server behind 127.0.0.1:{behind}
"""
NGINX = """location / {
    proxy_pass http://GATEWAY$request_uri;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_cache off;
}"""


class Arrived(NamedTuple):
    """One request, as the last server understood it."""

    method: str
    target: str
    body: bytes


class Counter:
    """A server of aiohttp's, in a thread: it says which request it answers, and forgets none."""

    def __init__(self) -> None:
        self.port = free_port()
        self.arrived: list[Arrived] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def open(self) -> None:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def close(self) -> None:
        """Stop."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def of(self, path: str) -> list[Arrived]:
        """What arrived for a path, and for what lies below."""
        return [one for one in self.arrived if one.target.startswith(path)]

    async def _listen(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._answer))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _answer(self, request: BaseRequest) -> web.StreamResponse:
        body = await request.read()
        arrived = Arrived(request.method, request._message.path, body)
        self.arrived.append(arrived)
        text = f"{arrived.method} {arrived.target}"
        return web.Response(text=text, headers={"Cache-Control": "no-store"})


class Chain(NamedTuple):
    """A gateway with a route to each kind of origin, named after it."""

    gateway: Headgate
    counter: Counter


@contextlib.contextmanager
def _haproxy(folder: Path, behind: int) -> Iterator[int]:
    port = free_port()
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port, behind=behind))
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    with (folder / "haproxy.log").open("wb") as said:
        process = subprocess.Popen([program, "-db", "-f", str(file)], stdout=said, stderr=said)
    try:
        wait_until(lambda: process.poll() is not None or accepts(port), "haproxy to listen")
        assert process.poll() is None, (folder / "haproxy.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def chain(folder: Path) -> Iterator[Chain]:
    """All of it, until the block ends."""
    counter = Counter()
    counter.open()
    with contextlib.ExitStack() as opened:
        opened.callback(counter.close)
        ports = {
            "aiohttp": counter.port,
            "nginx": opened.enter_context(nginx(folder, counter.port, {"o": NGINX}))["o"],
            "haproxy": opened.enter_context(_haproxy(folder, counter.port)),
        }
        routes = [
            {"prefix": f"/{kind}", "origin": f"http://127.0.0.1:{ports[kind]}"} for kind in KINDS
        ]
        gateway = Headgate("memory:", environment={**variables({"routes": routes})})
        at = gateway.arguments.index("--storage")
        del gateway.arguments[at : at + 2]  # one excludes the other
        opened.callback(gateway.close)
        yield Chain(gateway.start(), counter)
