"""A primary that freezes: the sentinels tell of its successor, nothing else does in these tests."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from gateway.backends import redis_errand, redis_news, redis_primary
from tests.backends.contract import appended, created
from tests.backends.redis_logs import Hearing, connected, until
from tests.support.processes import ROOT
from tests.support.redis_groups import SERVICE, SentinelGroup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOR_EVER_S = 600.0
FAILOVER_S = 60.0  # it takes two on an idle machine


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence makes nobody suspicious."""
    monkeypatch.setattr(redis_primary, "ANSWER_S", FOR_EVER_S)
    monkeypatch.setattr(redis_errand, "PATIENCE_S", FOR_EVER_S)
    monkeypatch.setattr(redis_news, "PING_S", FOR_EVER_S)


@pytest.fixture
def group(tmp_path: Path, patient: None) -> Iterator[SentinelGroup]:
    with SentinelGroup(tmp_path) as servers:
        yield servers


def watcher(group: SentinelGroup) -> str:
    """The group's URL for the user that the documentation gives its sentinels."""
    text = (ROOT / "docs" / "redis.md").read_text()
    rules = re.search(r"^user watcher on >PASSWORD (.+)$", text, re.MULTILINE)
    assert rules is not None
    for sentinel in group.sentinels:
        sentinel.command("ACL", "SETUSER", "watcher", "on", ">pw", *rules[1].split())
    return f"{group.url}?sentinel_username=watcher&sentinel_password=pw"


@pytest.mark.timeout(240)
async def test_gateways_leave_a_frozen_primary_for_the_one_that_the_sentinels_name(
    group: SentinelGroup,
) -> None:
    ears = Hearing()
    async with connected(watcher(group), ears) as log, connected(group.url) as other:
        first = created(log, "s", b"one")
        await log.commit([first])
        log.follow("s")
        await until(lambda: ears.missing == ["s"])
        await asyncio.to_thread(group.await_in_sync)
        frozen = group.primary()
        frozen.pause()
        try:
            async with asyncio.timeout(FAILOVER_S):
                # Both are asked while nobody answers.
                mine, others = await asyncio.gather(log.load("s"), other.load("s"))
                assert mine.place.state == others.place.state
                state = mine.place.state
                assert state is not None
                assert state.tail == 3
                # The channel is heard at the new primary, too.
                await until(lambda: len(ears.missing) > 1)
                await other.commit([appended(state, b"two")])
                await until(lambda: [change.state.tail for change in ears.changes][-1:] == [6])
        finally:
            frozen.resume()


@pytest.mark.timeout(240)
async def test_connections_in_the_making_go_to_the_new_primary(group: SentinelGroup) -> None:
    """A frozen server takes connections, and says nothing on them."""
    frozen = group.primary()
    await asyncio.to_thread(group.await_in_sync)
    frozen.pause()
    try:
        opening = asyncio.create_task(_opened_and_asked(group.url))
        async with asyncio.timeout(FAILOVER_S):
            await opening
    finally:
        frozen.resume()


async def _opened_and_asked(url: str) -> None:
    async with connected(url, connect_timeout=FOR_EVER_S) as log:
        await log.commit([created(log, "s", b"one")])


@pytest.mark.timeout(240)
async def test_one_failover_is_told_once(group: SentinelGroup) -> None:
    async with connected(group.url) as log:
        primary = log.primary_of("any")
        assert primary is not None
        service = SERVICE.encode()
        switches = primary._switches
        left = primary._left
        for message in (
            b"%b 10.0.0.1 6379 10.0.0.2 6379" % service,
            b"%b 10.0.0.1 6379 10.0.0.2 6379" % service,
            b"another 10.0.0.1 6379 10.0.0.2 6379",
            b"%b 10.0.0.2 6379 10.0.0.1 6379" % service,
        ):
            switches._heard(b"", message)
        assert primary._left == left + 2
