"""What one route cannot answer takes nothing from what the others do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway import app
from gateway.errors import LogUnavailable
from gateway.features.console.inspector import SHARE_S
from gateway.settings import Route
from gateway.telemetry.inspection import PeerMetrics, ShareMetrics
from gateway.web.router import Router
from tests.streams.shared_log import SharedLog
from tests.support import virtual_time
from tests.support.manual_clock import ManualClock
from tests.support.serving import NO_TOKENS, Options, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.backends.contract import Log


class Telling(SharedLog):
    """A log where another gateway has left its figures."""

    async def share_figures(self, instance: str, figures: str) -> Mapping[str, str]:
        return {"there": f"what {instance} told: {figures}"}


class Away(SharedLog):
    """A log that says that it is away."""

    async def share_figures(self, instance: str, figures: str) -> Mapping[str, str]:
        raise LogUnavailable("connection refused")


class Silent(SharedLog):
    """A log that says nothing."""

    async def share_figures(self, instance: str, figures: str) -> Mapping[str, str]:
        await asyncio.Event().wait()
        return {}


async def shared(*logs: Log) -> tuple[object, float]:
    """What is answered by routes with these logs, and how long it takes (s)."""
    settings = settings_of(Options())
    parts = app.shared_by_all(settings, ManualClock())
    routes = [
        app.hosted_route(settings, Route(prefix=f"/{at}", origin="memory:"), log, parts)
        for at, log in enumerate(logs)
    ]
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await app.inspector(Router(routes), parts, NO_TOKENS).answer(ShareMetrics("here", "1"))
    return answer, loop.time() - began


def test_an_unreachable_log_does_not_hide_figures_of_gateways_on_other_logs() -> None:
    found = {"there": "what here told: 1"}
    part = PeerMetrics(found, is_whole=False)
    assert virtual_time.run(shared(Telling())) == (PeerMetrics(found), 0.0)
    assert virtual_time.run(shared(Away(), Telling())) == (part, 0.0)
    silent = virtual_time.run(shared(Silent(), Telling(), Silent()))
    assert silent == (part, SHARE_S)  # waited for at once, not in turn
