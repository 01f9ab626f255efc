"""A gateway in this process whose file of settings a test writes anew, and reloads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.process import reconfiguration
from headgate_gateway.process.gateway import Gateway
from headgate_gateway.settings import load
from tests.support.given_settings import lines as lines_of
from tests.support.http1 import Answer, Client, request
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


STREAMS: dict[str, object] = {"prefix": "/v1/stream", "storage": "memory:"}
TEXT: dict[str, str] = {"Content_Type": "text/plain"}


def token_entry(name: str) -> str:
    """The table of a token that may do everything; the token is its name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    grant = '{ streams = "/v1/stream/*", operations = ["read", "append", "create"] }'
    return f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{digest}"\ngrants = [{grant}]\n'


class Reloadable:
    """The gateway, its file, and connections to it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "headgate.toml"
        self.port, self.admin_port = free_port(), free_port()
        self.gateway: Gateway
        self.clients: list[Client] = []  # whose connections the test leaves open

    def write(self, *routes: Mapping[str, object], **settings: object) -> None:
        """Write the file: routes, and what differs from the defaults."""
        given = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": f"127.0.0.1:{self.admin_port}",
            **settings,
        }
        lines = lines_of(given)
        for route in routes:
            lines += ["[[routes]]", *(f"{key} = {json.dumps(it)}" for key, it in route.items())]
        self.file.write_text("\n".join(lines) + "\n")

    async def reload(self, *routes: Mapping[str, object], **settings: object) -> tuple[str, ...]:
        """Write the file, and reload it; the reasons why it is not in force."""
        self.write(*routes, **settings)
        return await self.gateway.reloader.reload()

    async def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Answer:
        """The answer to one request on a connection of its own."""
        client = await Client.connect(self.port)
        try:
            return await client.ask(request(method, path, body, **headers))
        finally:
            client.close()

    async def follow(
        self, path: str, live: str = "sse", offset: str = "-1", **headers: str
    ) -> Client:
        """A connection on which a live read was sent; with SSE, its head came."""
        client = await Client.connect(self.port)
        self.clients.append(client)
        client.send(request("GET", f"{path}?offset={offset}&live={live}", None, **headers))
        if live == "sse":
            assert (await client.head()).status == 200
        return client


@contextlib.asynccontextmanager
async def reloadable(
    folder: Path, *routes: Mapping[str, object], **settings: object
) -> AsyncIterator[Reloadable]:
    """A gateway that serves by these settings."""
    made = Reloadable(folder)
    level = logging.getLogger().level  # a reload sets it for the process, which other tests share
    made.write(*routes or (STREAMS,), **settings)
    made.gateway = Gateway(
        load(made.file, {}, {}), reread=lambda: load(made.file, {}, {}, look_at_files=True)
    )
    with pytest.MonkeyPatch.context() as patch:
        # What is frozen are ten thousand tests: half a second for each removed route.
        patch.setattr(reconfiguration, "collect_frozen", lambda: None)
        try:
            await made.gateway.start()
            yield made
        finally:
            for client in made.clients:
                client.close()
            await made.gateway.stop()
            logging.getLogger().setLevel(level)
