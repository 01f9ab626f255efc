"""A gateway with MCP Events, and the `mcp` package as a host that is connected to it."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import mcp_types as types
from mcp.client import Client
from mcp.client.extension import ClientExtension, NotificationBinding
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel, ConfigDict

from tests.support.serving import PREFIX, post, put, request, serving
from tests.support.tokens_files import token, write_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.logs.contract import Log
    from tests.support.serving import Serving

ON = {"mcp_events": True}
VERSIONS = ("legacy", "2026-07-28")  # of MCP: with a handshake, and without


class AnyParams(types.RequestParams):
    """Parameters of a method that the package does not know."""

    model_config = ConfigDict(extra="allow")


class AnyRequest(types.Request[AnyParams, str]):
    """A request of a method that the package does not know."""

    method: str
    params: AnyParams


class AnyResult(types.Result):
    """A result with any members."""

    model_config = ConfigDict(extra="allow")


class AnyNotification(BaseModel):
    """The parameters of a notification."""

    model_config = ConfigDict(extra="allow")


class EventsExtension(ClientExtension):
    """The extension as a host declares it, which notes what streams of events bring."""

    identifier = "io.modelcontextprotocol/events"

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, Any]]] = []

    def notifications(self) -> list[NotificationBinding[Any]]:
        """Return what takes each notification of a stream."""
        kinds = ("active", "event", "heartbeat", "terminated", "error")
        return [
            NotificationBinding(
                method=f"notifications/events/{kind}",
                params_type=AnyNotification,
                handler=partial(self._note, kind),
            )
            for kind in kinds
        ]

    async def _note(self, kind: str, params: AnyNotification) -> None:
        self.notes.append((kind, params.model_dump(by_alias=True, mode="json")))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the notifications of a kind so far."""
        return [params for name, params in self.notes if name == kind]


class Host:
    """A host of MCP."""

    def __init__(self, client: Client, extension: EventsExtension) -> None:
        self.client = client
        self.events = extension

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the result of a request; raises MCPError."""
        asked = AnyRequest(method=method, params=AnyParams(**params))
        result = await self.client.session.send_request(asked, AnyResult)
        return result.model_dump(by_alias=True, mode="json", exclude_none=False)

    async def poll(self, stream: str, cursor: str | None = None, **more: Any) -> dict[str, Any]:
        """Poll the events of one stream."""
        arguments = {"stream": stream}
        params = {"name": "stream.appended", "arguments": arguments, "cursor": cursor, **more}
        return await self.ask("events/poll", **params)


@contextlib.asynccontextmanager
async def host(
    gateway: Serving, mode: str = "legacy", token: str = "", prefix: str = PREFIX
) -> AsyncIterator[Host]:
    """A host that is connected, with the handshake that its version of MCP has."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{gateway.port}{prefix}/mcp"
    # Its default, to verify certificates, reads those of all authorities: 30 ms of a core.
    async with httpx2.AsyncClient(headers=headers, timeout=20.0, verify=False) as http:
        transport = streamable_http_client(url, http_client=http)
        extension = EventsExtension()
        async with Client(transport, mode=mode, extensions=[extension]) as client:
            yield Host(client, extension)


@contextlib.asynccontextmanager
async def offering(
    log: Log | None = None, own: dict[str, object] | None = None, **options: Any
) -> AsyncIterator[Serving]:
    """A gateway whose route to a log has MCP Events."""
    async with serving(log, own={**ON, **(own or {})}, **options) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def guarded(
    folder: Path, log: Log | None = None, own: dict[str, object] | None = None, **options: Any
) -> AsyncIterator[Serving]:
    """A gateway with MCP Events that admits the tokens in GRANTS."""
    own = {"auth": ("tokens",), **(own or {})}
    async with offering(log, own, tokens_file=tokens_file(folder), **options) as gateway:
        yield gateway


GRANTS = {
    "all": [("*", "read append create close delete")],
    "reader": [("a/*", "read")],
    "other": [("*", "read")],
    "brief": [("*", "read append create close delete")],
}


def tokens_file(folder: Path, *, without: str = "") -> str:
    """Write who may do what; `without` a name it is as if it was never there."""
    return write_tokens(folder, GRANTS, without=without, prefix=PREFIX)


AS_ALL = f"Authorization: Bearer {token('all')}"


def types_file(folder: Path, text: str) -> dict[str, object]:
    """Return the settings of a route with a file of event types."""
    path = folder / "events.toml"
    path.write_text(text)
    return {"mcp_events_file": str(path)}


async def create(gateway: Serving, name: str, body: bytes = b"") -> None:
    """Create a JSON stream."""
    made = put(f"{PREFIX}/{name}", AS_ALL, body=body, content_type="application/json")
    assert (await gateway.ask(made)).status == 201


async def append(gateway: Serving, name: str, document: object) -> None:
    """Append to a JSON stream."""
    body = json.dumps(document).encode()
    asked = post(f"{PREFIX}/{name}", body, AS_ALL, content_type="application/json")
    assert (await gateway.ask(asked)).status in {200, 204}


async def close(gateway: Serving, name: str) -> None:
    """Close a stream."""
    closing = request("POST", f"{PREFIX}/{name}", "Stream-Closed: true", AS_ALL)
    assert (await gateway.ask(closing)).status in {200, 204}


def numbers(page: dict[str, Any]) -> list[Any]:
    """Return the `n` of each message in a page of events."""
    return [one["data"]["message"]["n"] for one in page["events"]]
