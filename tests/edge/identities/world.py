"""Gateways with guarded and open routes, in this process, on a simulated network."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from headgate_gateway import app
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.access.token_findings import ExaminedTokens
from headgate_gateway.features.inspector import Inspector
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.routes.router import Router
from headgate_gateway.settings import RequestLevel, Route, Settings
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.fast_path import FastPath
from headgate_gateway.web.connections.server import ConnectionServer
from tests.edge.identities.asking import OWN
from tests.edge.identities.line import Line
from tests.edge.identities.origin import BY_ORIGIN, BY_TOKEN, OPEN
from tests.support.given_settings import at
from tests.support.serving import Options, edge_route, hosted_route, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from headgate_gateway.access.tokens_file import TokensFile
    from headgate_gateway.routes.contract import StreamRoute
    from tests.edge.identities.people import Person
    from tests.edge.simulation.network import Address, SimulatedLoop

EPOCH_S = 1_800_000_000.0
PERIOD_S = 10
EXPIRES_S = 4  # of each period, for each seventh; the next one gives him a later end
WRITER = "writer-0123456789abcdef-writer"


def tokens(people: Iterable[Person], now: float) -> bytes:
    """A tokens_file in which these may read what is for them, and a writer may write."""
    grants = f'{{ streams = "{OWN}/*", operations = ["create", "append"] }}'
    entries = [_entry("writer", WRITER, grants)]
    for one in people:
        grants = ", ".join(
            f'{{ streams = "{prefix}/{scope}/*", operations = ["read"] }}'
            for prefix in (BY_TOKEN, OWN)
            for scope in one.scopes
        )
        expires = ""
        if (until := expires_at(one, now)) < inf:
            expires = f"expires = {datetime.fromtimestamp(EPOCH_S + until, UTC).isoformat()}\n"
        entries.append(_entry(f"p{one.number}", one.token, grants) + expires)
    return "\n".join(entries).encode()


def expires_at(one: Person, now: float) -> float:
    """When the token he has at a moment expires for the gateway, by the loop's time."""
    return now // PERIOD_S * PERIOD_S + EXPIRES_S if one.number % 7 == 3 else inf


def _entry(name: str, token: str, grants: str) -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{digest}"\ngrants = [{grants}]\n'


class Gateway:
    """One, with routes to the origin by each kind of guard and to a log of its own."""

    def __init__(
        self,
        loop: SimulatedLoop,
        address: Address,
        origins: dict[str, str],
        file: Path,
        log_requests: RequestLevel = "off",
    ) -> None:
        self.address = address
        self._loop = loop
        settings = settings_of(
            Options(
                long_poll_timeout=1.0,
                heartbeat=7.0,
                sse_max_age=4.0,
                max_connections=4000,
                max_live_readers=4000,
                cache_size=4 << 20,
                tokens_file=str(file),
                log_requests=log_requests,
            )
        )
        self._authorities = Authorities(settings, self._clock)
        services = app.make_services(settings, self._clock)
        self.services = replace(services, via=f"1.1 {address[0]}")
        self.log = MemoryLog()
        self.routes = Router([self._route(settings, at, url) for at, url in origins.items()])
        plans = Plans(self.routes)
        fast = FastPath(plans, self.services)
        self.fast = fast
        self.inspector = Inspector(self.routes, self.services, self._authorities)
        self._server = ConnectionServer(
            app.handlers_of(plans, self.services),
            fast,
            self.services,
            settings.http.keepalive_timeout,
        )
        self._idle: list[Line] = []

    def _clock(self) -> float:
        return EPOCH_S + self._loop.time()

    def _route(self, settings: Settings, prefix: str, url: str) -> StreamRoute:
        auth = {OPEN: "none", BY_ORIGIN: "origin"}.get(prefix, "tokens")
        route = Route(prefix=prefix, **at(url), auth=auth)
        access = app.access_of(settings, route, self._authorities, self.services)
        if route.is_http:
            return edge_route(settings, route, self.services, access)
        return hosted_route(settings, route, self.log, self.services, access)

    def tokens_are(self, file: TokensFile) -> None:
        for watched in self._authorities._files:
            watched.value = ExaminedTokens(file)
        self._authorities.recheck_principals()

    def line(self) -> Line:
        """A connection, that somebody else may have used before, as behind a proxy."""
        while self._idle:
            line = self._idle.pop()
            if not line.is_over:
                return line
        return Line(self._loop, lambda: Connection(self._server))

    def give_back(self, line: Line) -> None:
        self._idle.append(line)

    async def start(self) -> None:
        await self.log.open()
        for route in self.routes:
            await route.open()
        self._loop.listen(self.address, lambda: Connection(self._server))

    async def stop(self) -> None:
        self._loop.refuse(self.address)
        for line in self._idle:
            line.leave()
        for route in self.routes:
            await route.drain()
        self._server.stop_sweeping()
        await self._server.connections.close(1.0)
        for route in self.routes:
            await route.close()
        await self.log.close()
