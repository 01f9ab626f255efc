"""A primary that freezes: the sentinels tell of its successor, nothing else does in these tests."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import TYPE_CHECKING, Self

import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.logs.redis import notifications, primary, store
from headgate_gateway.logs.redis.connection import Unreachable
from headgate_gateway.logs.redis.connector import RedisConnector, RedisSettings
from headgate_gateway.logs.redis.names import RedisNames
from headgate_gateway.logs.redis.notifications import Notifications
from tests.logs.contract import appended, created
from tests.logs.redis_logs import Hearing, connected
from tests.support.log_lines import capture_logs
from tests.support.processes import ROOT
from tests.support.redis_groups import SentinelGroup
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate_gateway.logs.redis.connector import Address
    from tests.support.redis_servers import RedisServer

FOR_EVER_S = 600.0
FAILOVER_S = 60.0  # it takes two on an idle machine


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence makes nobody suspicious."""
    monkeypatch.setattr(primary, "ANSWER_S", FOR_EVER_S)
    monkeypatch.setattr(store, "TIMEOUT_S", FOR_EVER_S)
    monkeypatch.setattr(notifications, "PING_S", FOR_EVER_S)


@pytest.fixture
def group(processes: None, tmp_path: Path, patient: None) -> Iterator[SentinelGroup]:
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
async def test_gateways_leave_a_frozen_primary_for_the_named_one(group: SentinelGroup) -> None:
    subscriptions = Hearing()
    async with connected(watcher(group), subscriptions) as log, connected(group.url) as other:
        await log.commit([created(log, "s", b"one")])
        log.sharing.follow("s")
        await until(lambda: subscriptions.missing == ["s"])
        await asyncio.to_thread(group.await_in_sync)
        frozen = group.primary()
        frozen.pause()
        try:
            async with asyncio.timeout(FAILOVER_S):
                # Both are asked while nobody answers.
                mine, others = await asyncio.gather(log.load("s"), other.load("s"))
                assert mine.path_state.state == others.path_state.state
                state = mine.path_state.state
                assert state is not None
                assert state.tail == 3
                # The channel is heard at the new primary, too.
                await until(lambda: len(subscriptions.missing) > 1)
                await other.commit([appended(state, b"two")])
                await until(
                    lambda: [change.state.tail for change in subscriptions.changes][-1:] == [6]
                )
        finally:
            frozen.resume()


@pytest.mark.timeout(240)
async def test_connections_to_a_frozen_primary_go_to_the_new_one(group: SentinelGroup) -> None:
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
    async with connected(url, connect_timeout=FOR_EVER_S, within_s=FAILOVER_S) as log:
        await log.commit([created(log, "s", b"one")])


class Switches:
    """Servers of which only the failovers count, announced by a Redis in place of a sentinel."""

    def __init__(self, server: RedisServer, login: str = "") -> None:
        self._server = server
        self.times = 0
        self.service = uuid.uuid4().hex
        origin = f"redis+sentinel://{server.address}/{self.service}{login}"
        self.connector = RedisConnector(RedisSettings(parse_redis(origin)))
        self.notifications = Notifications(RedisNames("p"), self)  # type: ignore[arg-type] # all that it uses

    async def addresses(self) -> None:
        raise Unreachable("no sentinel")

    def primary_at(self, _: Address) -> Self:
        return self

    def leave(self) -> None:
        self.times += 1

    async def __aenter__(self) -> Self:
        self.notifications.open()
        await until(lambda: self._tell("another") == 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.notifications.close()

    def _tell(self, service: str, old: int = 1, new: int = 2) -> int:
        message = f"{service} 10.0.0.{old} 6379 10.0.0.{new} 6379"
        heard_by: int = self._server.command("PUBLISH", "+switch-master", message)
        return heard_by

    def tell(self, old: int, new: int) -> None:
        """Of a failover from one address to another."""
        assert self._tell(self.service, old, new) == 1


@pytest.mark.parametrize(("together_s", "times"), [(None, 3), (0.0, 5)])
async def test_a_failover_announced_by_several_sentinels_is_reported_once_within_a_while(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, together_s: float | None, times: int
) -> None:
    if together_s is not None:  # the announcements come a while after each other
        monkeypatch.setattr(notifications, "TOGETHER_S", together_s)
    async with Switches(server) as switches:
        for _ in range(3):  # sentinels
            switches.tell(1, 2)
        switches.tell(2, 1)
        switches.tell(1, 2)
        await until(lambda: switches.times >= times)
        assert switches.times == times


async def test_a_sentinel_that_forbids_subscriptions_is_logged_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "LONGEST_AGAIN_S", 0.0)
    user = uuid.uuid4().hex
    server.command("ACL", "SETUSER", user, "on", ">pw", "-@all", "+client|setname")
    switches = Switches(server, f"?sentinel_username={user}&sentinel_password=pw")
    try:
        with capture_logs() as lines:
            switches.notifications.open()
            await until(lambda: _refusals(server, user) >= 3)
            await switches.notifications.close()
        assert [line["event"] for line in lines] == ["log.notifications_refused"]
    finally:
        server.command("ACL", "DELUSER", user)


def _refusals(server: RedisServer, user: str) -> int:
    return sum(
        int(entry[b"count"])
        for entry in server.command("ACL", "LOG")
        if entry[b"username"] == user.encode()
    )
