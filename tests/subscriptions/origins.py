"""A gateway with subscriptions before an origin, both in this process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from gateway.features.subscriptions.origins.origin_subscriptions import OriginSubscriptions
from tests.subscriptions.receivers import Receiver, Subscribed, check_owner, receiver
from tests.support.listener import Listener
from tests.support.serving import PREFIX, Serving, edge_serving, request, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.features.subscriptions.origins.tail_checks import TailChecks
    from tests.support.http1 import Answer


class Proxied(Subscribed):
    """A gateway before an origin, whose streams clients may also reach around the gateway."""

    def __init__(self, gateway: Serving, origin: Serving | None) -> None:
        super().__init__(gateway, gateway.edge)
        self._origin = origin

    @property
    def checks(self) -> TailChecks:
        """The checks of linked streams, as this gateway delivers."""
        assert isinstance(self.engine, OriginSubscriptions)
        return self.engine.origin_streams.checks

    async def around(self, method: str, name: str, body: bytes = b"") -> Answer:
        """Return the answer of the origin itself, which is in this process."""
        assert self._origin is not None
        return await self._origin.ask(_request(method, f"{PREFIX}/{name}", body))

    async def through(self, method: str, name: str, body: bytes = b"") -> Answer:
        """Return the answer of the gateway, whether or not anybody knows of it by then."""
        return await self.gateway.ask(_request(method, f"{self.prefix}/{name}", body))


def _request(method: str, target: str, body: bytes) -> bytes:
    return request(method, target, "Content-Type: application/json", body=body)


@contextlib.asynccontextmanager
async def before(
    server: Serving | str,
    place: str = "memory:",
    *,
    own: Mapping[str, object] | None = None,
    **options: Any,
) -> AsyncIterator[Proxied]:
    """A gateway before an origin, or before a URL, which stores subscriptions at a place.

    The route to the origin has `own` settings.
    """
    url = server if isinstance(server, str) else f"http://127.0.0.1:{server.port}{PREFIX}"
    async with edge_serving(url, {"subscriptions": place, **(own or {})}, **options) as gateway:
        yield Proxied(gateway, None if isinstance(server, str) else server)


@contextlib.asynccontextmanager
async def proxied(**options: Any) -> AsyncIterator[Proxied]:
    """A gateway before an origin, with subscriptions in memory."""
    async with serving() as server, before(server, **options) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def two_before(
    url: str, origin: Serving | str, **options: Any
) -> AsyncIterator[tuple[Proxied, Proxied]]:
    """Two gateways before one origin, with subscriptions in a Redis; the first delivers."""
    async with before(origin, url, **options) as owner, before(origin, url, **options) as other:
        check_owner(owner, other)
        yield owner, other


@contextlib.asynccontextmanager
async def woken(url: str) -> AsyncIterator[tuple[Proxied, Proxied, Receiver]]:
    """Two gateways before an origin, as above, and a receiver that is always done."""
    async with (
        serving() as origin,
        two_before(url, origin) as (owner, other),
        receiver(answer={"done": True}) as at,
    ):
        yield owner, other, at


class LosingWay(Listener):
    """A way to a loopback port that is cut and mended again, or loses answers.

    Of a request of the method `loses`, the answer is lost, and all that follows.
    """

    def __init__(self, port: int) -> None:
        super().__init__(self._connected)
        self.target = port
        self.is_cut = False
        self.loses = ""
        self._is_silent = False
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where it begins."""
        return f"http://127.0.0.1:{self.port}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        back, there = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, there}
        ways = [self._forward(reader, there), self._forward(back, writer, is_answer=True)]
        try:
            await asyncio.wait(map(asyncio.create_task, ways), return_when=asyncio.FIRST_COMPLETED)
        finally:  # also where this is left before either side has ended
            for one in (writer, there):
                one.transport.abort()
            self._writers -= {writer, there}

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if not is_answer and self.loses and data.startswith(self.loses.encode()):
                    self._is_silent = True
                if not (is_answer and self._is_silent):
                    writer.write(data)

    def cut(self) -> None:
        """End all connections, and accept no others."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Lose nothing any more."""
        self.is_cut, self.loses, self._is_silent = False, "", False
