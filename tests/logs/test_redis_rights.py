"""A Redis user who may not do all that a gateway needs: it is told, and breaks nothing."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from tests.logs.redis_logs import connected
from tests.streams.service import Service
from tests.support.processes import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.logs.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer


def documented() -> list[str]:
    """The rules of the user that the documentation gives a gateway."""
    text = (ROOT / "docs" / "redis.md").read_text()
    found = re.search(r"^user headgate on >PASSWORD (.+)$", text, re.MULTILINE)
    assert found is not None
    return found[1].split()


RIGHTS = [rule.removeprefix("+") for rule in documented() if rule.startswith("+")]
# Asked of a server that is silent, of another database than the first, for replicas, of a commit
# that met another, and when readers leave.
SELDOM = {"ping", "select", "wait", "unsubscribe", "sunsubscribe"}


class User:
    """One of the server's, with a prefix of its own."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.server = server
        self.name = f"user-{uuid.uuid4().hex}"
        self.origin = f"redis://{self.name}:pw@{server.address}/0?prefix={prefix}"
        self.rules("on", ">pw", *(rule.replace("headgate:", f"{prefix}:") for rule in documented()))

    def rules(self, *rules: str) -> None:
        self.server.command("ACL", "SETUSER", self.name, *rules)


@pytest.fixture
def user(server: RedisServer, names: RedisNames) -> Iterator[User]:
    one = User(server, names.prefix)
    yield one
    server.command("ACL", "DELUSER", one.name)


async def test_the_documented_redis_rights_are_enough_for_every_operation(user: User) -> None:
    async with connected(user.origin) as log:
        service = Service(log)
        await service.create("s")
        await service.append("s", b"one")
        log.sharing.follow("s")
        assert await service.data("s") == b"one"
        await service.lifecycle.delete("s")
        log.sharing.unfollow("s")
        assert log.why_unhealthy() is None


@pytest.mark.parametrize("right", sorted(set(RIGHTS) - SELDOM))
async def test_each_missing_right_is_reported_until_it_is_granted(user: User, right: str) -> None:
    user.rules(f"-{right}")
    user.server.command("FUNCTION", "FLUSH")  # what is asked once in its life is asked again
    log = RedisLog(RedisSettings(parse_redis(user.origin)))
    await log.open()
    try:
        await until(
            lambda: "the Redis user may not do what Headgate needs" in str(log.why_unhealthy())
        )
        user.rules(f"+{right}")
        await until(lambda: log.why_unhealthy() is None)
    finally:
        await log.close()


@pytest.mark.parametrize("right", ["hset", "xadd", "set"])
async def test_a_right_missing_for_a_while_leaves_streams_usable(user: User, right: str) -> None:
    async with connected(user.origin) as log, connected(user.origin) as other:
        service, beside = Service(log), Service(other)
        for path in ("s", "d"):
            await service.create(path)
            await service.append(path, b"one ")
        user.rules(f"-{right}")
        refused = []
        for write in (service.append("s", b"lost "), service.lifecycle.delete("d")):
            try:
                await write
            except LogUnavailable as refusal:
                refused.append(refusal)
        assert refused
        assert all("not known" not in refusal.detail for refusal in refused)
        user.rules(f"+{right}")
        await until(lambda: log.why_unhealthy() is None and other.why_unhealthy() is None)
        await beside.append("s", b"two ")
        await service.append("s", b"three ")
        assert (await service.data("s")).endswith(b"two three ")
        assert await beside.data("s") == await service.data("s")
