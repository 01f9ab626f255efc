"""Ways in which Redis forgets what it acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.redis_groups import SentinelGroup
    from tests.support.redis_servers import RedisServer


class Disaster(Protocol):
    """Something after which Redis is back without what it acknowledged last."""

    def keep(self) -> None:
        """What was acknowledged before this call is kept, what comes after it is lost."""

    def strike(self) -> None:
        """From now on nobody answers who knows it."""

    def recover(self) -> None:
        """Somebody else does, or it comes back without it."""


class Failover:
    """The primary dies after its replicas were cut off, and one of them takes its place."""

    def __init__(self, group: SentinelGroup) -> None:
        self.group = group
        self.lost = group.primary()

    def keep(self) -> None:
        self.group.await_in_sync()
        self.group.cut_replication()

    def strike(self) -> None:
        self.lost = self.group.primary()
        self.lost.kill()

    def recover(self) -> None:
        self.group.mend_replication()
        self.group.await_failover(self.lost)
        # It has nothing, and is a primary until the sentinels tell it otherwise.
        self.lost.start()


class SplitBrain(Failover):
    """The primary is only frozen; when it wakes, it takes writes until it is told otherwise."""

    def strike(self) -> None:
        self.lost = self.group.primary()
        self.lost.pause()

    def recover(self) -> None:
        for server in self.group.data:
            if server is not self.lost:
                server.command("CONFIG", "SET", "masterauth", "")
        self.group.await_failover(self.lost)
        self.lost.resume()
        wait_until(self._is_replica, f"{self.lost!r} to follow the new primary", self.lost.output)

    def _is_replica(self) -> bool:
        return str(self.lost.info("replication")["role"]) == "slave"


class Rollback:
    """A server that comes back with its last snapshot."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def keep(self) -> None:
        self.server.command("SAVE")

    def strike(self) -> None:
        self.server.kill()

    def recover(self) -> None:
        self.server.start()


class Oblivion(Rollback):
    """A server that comes back with nothing."""

    def keep(self) -> None:
        (self.server.folder / "dump.rdb").unlink(missing_ok=True)
