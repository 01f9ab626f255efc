"""What one route cannot answer takes nothing from what the others do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway import app
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.inspector import SHARE_S, Inspector
from headgate_gateway.features.questions.contract import PeerMetrics, ShareMetrics
from headgate_gateway.features.redis.figures import instances
from headgate_gateway.routes.router import Router
from headgate_gateway.settings import Route
from tests.streams.shared_log import SharedLog
from tests.support import virtual_time
from tests.support.manual_clock import ManualClock
from tests.support.serving import Options, hosted_route, settings_of

if TYPE_CHECKING:
    from headgate_gateway.logs.contract import Log


class Figures(SharedLog):
    """A log whose Redis has another gateway's figures."""

    prefix = "headgate"

    @property
    def store(self) -> Figures:
        return self

    async def execute(self, key: str, *_: object) -> list[object]:
        return [[b"there"] if key == instances(self.prefix) else b"its figures"]


class Away(Figures):
    """A log that says that it is away."""

    @override
    async def execute(self, key: str, *_: object) -> list[object]:
        raise LogUnavailable("connection refused")


class Silent(Figures):
    """A log that says nothing."""

    @override
    async def execute(self, key: str, *_: object) -> list[object]:
        await asyncio.Event().wait()
        return []


async def shared(*logs: Log) -> tuple[object, float]:
    """What is answered by routes with these logs, and how long it takes (s)."""
    settings = settings_of(Options())
    parts = app.make_services(settings, ManualClock())
    routes = [
        hosted_route(settings, Route(prefix=f"/{at}", storage="memory:"), log, parts)
        for at, log in enumerate(logs)
    ]
    authorities = Authorities(settings, ManualClock())
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await Inspector(Router(routes), parts, authorities).answer(ShareMetrics("here", "1"))
    return answer, loop.time() - began


def test_an_unreachable_log_does_not_hide_figures_of_gateways_on_other_logs() -> None:
    found = {"there": "its figures"}
    part = PeerMetrics(found, is_whole=False)
    assert virtual_time.run(shared(Figures())) == (PeerMetrics(found), 0.0)
    assert virtual_time.run(shared(Away(), Figures())) == (part, 0.0)
    silent = virtual_time.run(shared(Silent(), Figures(), Silent()))
    assert silent == (part, SHARE_S)  # waited for at once, not in turn
