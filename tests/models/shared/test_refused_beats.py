"""Gateways whose Redis takes no beats: none of them has stopped for that."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.models import sharing as module
from headgate_gateway.features.models.sharing import Gateways
from tests.logs.redis_logs import connected
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


async def _finish(_: str) -> None:
    """End no answer."""


@pytest.mark.usefixtures("processes")
async def test_nobody_counts_as_stopped_until_all_can_have_beaten_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE_S", 0.5)
    with redis_server(tmp_path) as redis:
        async with connected(redis.url) as log:
            streams: Any = SimpleNamespace(route=SimpleNamespace(table=SimpleNamespace(log=log)))
            request: Any = SimpleNamespace(writer="another")
            gateways = Gateways(streams, _finish)
            assert not await gateways.writes(request)
            redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
            await until(log.is_read_only)
            with pytest.raises(LogUnavailable, match="fewer replicas"):
                await gateways.ensure_alive()
            assert await gateways.writes(request)
            redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
            await gateways.ensure_alive()
            assert await gateways.writes(request)
            ended = asyncio.get_running_loop().time() + 0.5
            await until(lambda: asyncio.get_running_loop().time() > ended)
            assert not await gateways.writes(request)
