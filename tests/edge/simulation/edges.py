"""An edge on the simulated network, put together by `headgate_gateway.app`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headgate_gateway import app
from headgate_gateway.routes.router import Router
from headgate_gateway.settings import Route
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.fast_path import FastPath
from headgate_gateway.web.connections.server import ConnectionServer
from tests.support.serving import Options, edge_route, settings_of

if TYPE_CHECKING:
    import random

    from tests.edge.simulation.network import Address, SimulatedLoop

PREFIX = "/edge"
EPOCH_S = 1_800_000_000.0
POLL_S = 10.0  # how long a reader's long-poll waits here
PATIENCE_S = 8.0  # for the head of an answer, and between its parts
POLL_PATIENCE_S = PATIENCE_S + 45.0
MAX_AGE_S = 20
STALE_S = 30
TAIL_S = 1


class Edge:
    """One gateway."""

    def __init__(
        self, loop: SimulatedLoop, name: str, address: Address, origin: Address, stale_s: int
    ) -> None:
        self.name = name
        self.address = address
        self._loop = loop
        options = Options(
            long_poll_timeout=POLL_S,
            heartbeat=7.0,
            sse_max_age=25.0,
            max_connections=1000,
            max_live_readers=1000,
            cache_size=1 << 20,
        )
        settings = settings_of(options)
        route = Route(
            prefix=PREFIX,
            origin=f"http://{origin[0]}:{origin[1]}",
            chunk_max_age=MAX_AGE_S,
            stale_while_revalidate=STALE_S,
            tail_max_age=TAIL_S,
            stale_if_error=stale_s,
            response_timeout=PATIENCE_S,
        )
        services = app.make_services(settings, self._clock)
        self.services = replace(services, via=f"1.1 {name}")
        self.route = edge_route(settings, route, self.services)
        plans = Plans(Router([self.route]))
        fast = FastPath(plans, self.services)
        self._server = ConnectionServer(
            app.handlers_of(plans, self.services),
            fast,
            self.services,
            settings.http.keepalive_timeout,
        )

    def _clock(self) -> float:
        return EPOCH_S + self._loop.time()

    async def start(self) -> None:
        await self.route.open()
        self._loop.listen(self.address, lambda: Connection(self._server))

    async def stop(self) -> None:
        """End."""
        self._loop.refuse(self.address)
        await self.route.drain()
        self._server.stop_sweeping()
        await self._server.connections.close(1.0)
        await self.route.close()

    def left(self) -> dict[str, object]:
        """What is held for nobody once everybody has gone: nothing of it should be."""
        fetches = self.route.cache.fetches
        feeds, limits = self.route.feeds, self.services.limits
        held = {
            "streams": len(feeds.table.by_key),
            "paths": len(feeds.table.by_path),
            "reads": len(feeds.source._reads.under_way) + len(feeds.reader._tails.under_way),
            "rendered": len(feeds.source._rendered),
            "budget": feeds.budget.bytes,
            "budgeted": len(feeds.budget._sizes),
            "feeds": limits.feeds,
            "readers": limits.live_readers,
            "connections": limits.connections,
            "fetches": len(fetches.joinable) + len(fetches.under_way),
            "in flight": self.route.origin.requests.count,
        }
        store = self.services.store
        entries = [*store._new.values(), *store._used.values()]
        held["store"] = store.bytes - sum(entry.size for entry in entries)
        held["asked for"] = sum(one.is_validating for slot in entries for one in slot.variants)
        return {name: count for name, count in held.items() if count}


def choose_bounds(chance: random.Random) -> dict[tuple[str, str], object]:
    """Bounds so small that short streams come to them, by module and name."""
    return {
        ("headgate_gateway.edge.followed.recent_window", "WINDOW_BYTES"): chance.choice(
            [1 << 20, 30, 200]
        ),
        ("headgate_gateway.edge.followed.recent_window", "MAX_KNOWN"): chance.choice([256, 4]),
        ("headgate_gateway.edge.followed.recent_window", "MAX_PIECES"): chance.choice([1024, 3]),
        ("headgate_gateway.edge.followed.comparison", "MOST_COUNTED"): chance.choice([16 << 10, 2]),
        ("headgate_gateway.edge.followed.feed_source", "LONGEST_ROUND"): chance.choice(
            [512 << 10, 40]
        ),
        ("headgate_gateway.edge.reads.shared_response", "LONGEST_GATHERED"): chance.choice(
            [8 << 20, 60]
        ),
        ("headgate_gateway.edge.reads.shared_response", "AHEAD_BYTES"): chance.choice(
            [256 << 10, 10]
        ),
        ("headgate_gateway.live.sse_readers", "HIGH_WATER"): chance.choice([64 << 10, 100]),
        ("headgate_gateway.edge.followed.followed_streams", "NEWS_BYTES"): chance.choice(
            [256 << 20, 100]
        ),
        ("headgate_gateway.edge.followed.followed_streams", "LINGER_S"): chance.choice([5.0, 0.1]),
    }
