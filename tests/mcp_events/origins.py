"""A gateway with MCP Events before an HTTP origin, which is a process or in this one."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from gateway.features.subscriptions.origins.origin_subscriptions import OriginSubscriptions
from gateway.features.subscriptions.subscription_handlers import subscriptions_of
from tests.mcp_events.hosts import GRANTS, host, until_quiet
from tests.support.serving import EDGE, PREFIX, Serving, edge_serving, request, serving
from tests.support.tokens_files import token, write_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.mcp_events.hosts import Host
    from tests.support.http1 import Answer

JSON_LINE = "Content-Type: application/json"


class BeforeOrigin:
    """A gateway before an origin, whose streams clients may also reach around the gateway."""

    def __init__(self, gateway: Serving, origin: Serving | None) -> None:
        self.gateway = gateway
        self.origin = origin

    @property
    def engine(self) -> OriginSubscriptions:
        """What delivers webhooks, at this gateway alone."""
        subscriptions = subscriptions_of(self.gateway.edge)
        assert isinstance(subscriptions, OriginSubscriptions)
        return subscriptions

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and act on the deadlines that are over then."""
        self.gateway.clock.advance(seconds)
        self.engine.wakes.timer.run_due()

    async def quiet(self) -> None:
        """Wait until no delivery waits or runs."""
        await until_quiet(self.engine)

    async def ask(self, method: str, name: str, *lines: str, body: bytes = b"") -> Answer:
        """Return the answer to a request for a stream through the gateway."""
        line = f"Authorization: Bearer {token('all')}"
        asked = request(method, f"{EDGE}/{name}", line, *(lines or (JSON_LINE,)), body=body)
        return await self.gateway.ask(asked)

    async def create(self, name: str, document: object = None, *lines: str) -> None:
        """Create a stream, a JSON stream unless lines say otherwise."""
        answer = await self.ask("PUT", name, *lines, body=_body(document))
        assert answer.status == 201, answer

    async def append(self, name: str, document: object, *lines: str) -> None:
        """Append to a stream."""
        answer = await self.ask("POST", name, *lines, body=_body(document))
        assert answer.status in {200, 204}, answer

    async def close(self, name: str) -> None:
        """Close a stream."""
        assert (await self.ask("POST", name, "Stream-Closed: true")).status in {200, 204}

    async def around(self, method: str, name: str, document: object = None) -> Answer:
        """Return the answer of the origin itself, which is in this process."""
        assert self.origin is not None
        target = f"{PREFIX}/{name}"
        return await self.origin.ask(request(method, target, JSON_LINE, body=_body(document)))

    def host(
        self, mode: str = "legacy", name: str = ""
    ) -> contextlib.AbstractAsyncContextManager[Host]:
        """A host that is connected, perhaps with the token of a name."""
        return host(self.gateway, mode, token(name) if name else "", EDGE)


def _body(document: object) -> bytes:
    if document is None or isinstance(document, bytes):
        return document or b""
    return json.dumps(document).encode()


@contextlib.asynccontextmanager
async def before(
    url: str,
    folder: Path | None = None,
    *,
    origin: Serving | None = None,
    place: str = "memory:",
    own: dict[str, object] | None = None,
    **options: Any,
) -> AsyncIterator[BeforeOrigin]:
    """A gateway before a URL.

    With a folder, it admits the tokens in GRANTS, and stores subscriptions at a place.
    """
    route: dict[str, object] = {"mcp_events": True, **(own or {})}
    if folder is not None:
        route |= {"auth": ("tokens",), "subscriptions": place}
        options["tokens_file"] = write_tokens(folder, GRANTS, without="", prefix=EDGE)
    async with edge_serving(url, route, **options) as gateway:
        yield BeforeOrigin(gateway, origin)


@contextlib.asynccontextmanager
async def before_own(
    folder: Path | None = None, *, origin_own: dict[str, object] | None = None, **options: Any
) -> AsyncIterator[BeforeOrigin]:
    """A gateway before another one, which is in this process; its route has `origin_own`."""
    async with serving(own=origin_own) as origin:
        url = f"http://127.0.0.1:{origin.port}{PREFIX}"
        async with before(url, folder, origin=origin, **options) as gateway:
            yield gateway
