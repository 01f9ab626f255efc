"""The console and the streams of a gateway in this process, as scripts ask them over HTTP."""

from __future__ import annotations

import io
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession
from yarl import URL

from headgate_gateway.process.gateway import Gateway
from headgate_gateway.settings import Address, Settings
from tests.admin.consoles import ADMITTED, OPERATOR
from tests.support.given_settings import sections
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

ROUTE = "/v1/stream"


class ScriptedConsole:
    """The admin listener and the streams of a gateway, by their URLs."""

    def __init__(self, http: ClientSession, admin: str, streams: str) -> None:
        self.http = http
        self.admin = admin
        self.streams = streams

    def open(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        token: str = OPERATOR,
        **fields: str,
    ) -> Any:
        """Send a GET request for a page, for events or for the metrics."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        headers["Authorization"] = f"Bearer {token}"
        return self.http.get(f"{self.admin}{path}", params=query, headers=headers)

    async def ask(
        self, method: str, path: str, body: object = None, token: str = OPERATOR, **query: str | int
    ) -> tuple[int, Any]:
        """Return the status and the value of the API, whose errors all have one form."""
        async with self.http.request(
            method,
            f"{self.admin}/api/v1/{path}",
            data=None if body is None else io.BytesIO(json.dumps(body).encode()),
            params=query,
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            text = await answer.text()
            value: Any = json.loads(text) if text else None
            if answer.status >= 400:  # docs/http.md#errors
                assert [*value] == ["type", "title", "status", "code", "detail"], value
                assert (value["type"], value["status"]) == ("about:blank", answer.status), value
            return answer.status, value

    async def get(self, path: str, **query: Any) -> Any:
        """Return the value of what the API has."""
        status, value = await self.ask("GET", path, **query)
        assert status == 200, (path, value)
        return value

    async def messages(self, name: str, **query: str | int) -> Any:
        """Return a page of messages of a stream."""
        return await self.get("stream/messages", route=ROUTE, name=name, **query)

    async def send(self, method: str, name: str, body: bytes = b"", **headers: str) -> int:
        """Send a request for a stream; return its status."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(f"{self.streams}/{name}", encoded=True)
        async with self.http.request(method, url, data=body, headers=sent) as answer:
            return answer.status

    async def create(self, name: str, content_type: str, *bodies: bytes) -> list[str]:
        """Create a stream with these appends; return the offset after each."""
        await self.send("PUT", name, Content_Type=content_type)
        offsets = []
        url, headers = URL(f"{self.streams}/{name}", encoded=True), {"Content-Type": content_type}
        for body in bodies:
            async with self.http.post(url, headers=headers, data=body) as answer:
                assert answer.status == 204
                offsets.append(answer.headers["Stream-Next-Offset"])
        return offsets


class RunningConsole(ScriptedConsole):
    """The console of a gateway that runs in this process."""

    def __init__(self, http: ClientSession, settings: Settings, gateway: Gateway) -> None:
        super().__init__(
            http, f"http://{settings.admin.listen}", f"http://{settings.listen}{ROUTE}"
        )
        self.settings = settings
        self.gateway = gateway

    async def ask(self, *args: Any, **query: Any) -> tuple[int, Any]:
        """Ask the API, which must not say how the console is admitted to guarded streams."""
        found = await super().ask(*args, **query)
        assert self.gateway.console._secret not in str(found)
        return found


@asynccontextmanager
async def running(
    *routes: Mapping[str, object], host: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[RunningConsole]:
    """Run a gateway whose streams are served at a host, in memory where no routes are given."""
    given: dict[str, Any] = {
        "listen": Address(host, free_port()),
        "auth": "none",
        "admin_listen": Address("127.0.0.1", free_port()),
        "admin_tokens": ADMITTED,
        "routes": routes or ({"prefix": ROUTE, "storage": "memory:"},),
        **settings,
    }
    made = Settings(**sections(given))
    gateway = Gateway(made)
    try:
        await gateway.start()
        async with ClientSession() as http:
            yield RunningConsole(http, made, gateway)
    finally:
        await gateway.stop()
