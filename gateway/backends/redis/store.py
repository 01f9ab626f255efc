"""The Redis of a log: its servers and channels, for the log and for what is built on it."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import Sharing, settle
from gateway.backends.redis.commands import Commands, is_current
from gateway.backends.redis.connection import pack
from gateway.backends.redis.names import RedisNames
from gateway.backends.redis.servers.call import AT_RISK, CallReplies, RedisCall
from gateway.backends.redis.servers.origin_servers import OriginServers
from gateway.errors import LogUnavailable
from gateway.protocol.streams.state import ClockReading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.backends.contract import LogListener
    from gateway.backends.redis.connection import Packed, Reply
    from gateway.backends.redis.servers.connector import RedisConnector
    from gateway.backends.redis.servers.primary import Primary
    from gateway.protocol.streams.state import StreamState


class RedisStore(Sharing):
    """The servers of one log, called by the key that a call concerns, and the channels of the log.

    Keys and channels of others than the log begin with `prefix`, ":" and a name of their own; what
    follows that in brackets or braces never makes it a key of a stream.
    """

    def __init__(
        self, connector: RedisConnector, history_changed: Callable[[Primary], None]
    ) -> None:
        """Call `history_changed` with a server that has another history than before."""
        self.wait_replicas = connector.settings.wait_replicas
        self.prefix = connector.origin.prefix
        self.names = RedisNames(self.prefix)
        self.commands = Commands(self.names, connector, secrets.token_hex(4))
        self.servers = OriginServers(connector, self.commands, self.wait_replicas, history_changed)

    async def execute(
        self, key: str, *calls: Packed, commits: bool = False, expected: int = 0
    ) -> list[Reply]:
        """Return the replies of the server that has `key`. Raises LogUnavailable.

        `expected` is about how many bytes they may be, where they are many.
        """
        return (await self._reply(key, calls, commits=commits, expected=expected)).replies

    async def commit(self, key: str, call: Packed) -> Reply:
        """Return the reply to a write, once `wait_replicas` have it. Raises LogUnavailable."""
        answer = await self._reply(key, [call], commits=True, expected=0)
        if answer.is_at_risk(self.wait_replicas):
            raise LogUnavailable(AT_RISK)
        return answer.replies[-1]

    async def _reply(
        self, key: str, calls: Sequence[Packed], *, commits: bool, expected: int
    ) -> CallReplies:
        replied: asyncio.Future[CallReplies] = asyncio.get_running_loop().create_future()
        done = partial(settle, replied)
        RedisCall(self.servers, key, calls, done, commits=commits, expected=expected).go()
        return await replied

    def publish(self, channel: str, message: bytes) -> Packed:
        """Return the call, for the server of `channel`, which replies how many hear it."""
        return pack("SPUBLISH" if self.servers.connector.sharded else "PUBLISH", channel, message)

    async def followers(self, path: str) -> int:
        """Return how many gateways follow a stream, this one included once that has begun."""
        channel = self.names.meta(path)
        kind = "SHARDNUMSUB" if self.servers.connector.sharded else "NUMSUB"
        (reply,) = await self.execute(channel, pack("PUBSUB", kind, channel))
        return int(reply[1])

    @property
    @override
    def repeats_wait(self) -> bool:
        return self.wait_replicas > 0

    @override
    def listen(self, listener: LogListener) -> None:
        self.servers.notifications.listener = listener

    @override
    async def is_current(self, state: StreamState) -> bool:
        path = state.path
        (reply,) = await self.execute(self.names.meta(path), self.commands.confirm(path))
        self.servers.compare(int(reply[0]))
        return is_current(reply, state)

    @override
    def follow(self, path: str) -> None:
        self.servers.notifications.follow(self.names.meta(path))

    @override
    def unfollow(self, path: str) -> None:
        self.servers.notifications.unfollow(self.names.meta(path))

    @override
    async def removal_time(self, now: ClockReading) -> ClockReading:
        """Return `now`, or the time of the server of the deadlines if that is earlier.

        A gateway whose clock is ahead then removes no stream that has not ended by Redis' clock.
        """
        ((seconds, micros),) = await self.execute(self.names.deadlines, pack("TIME"))
        time = int(seconds) + int(micros) / 1e6
        return ClockReading(min(now.wall, time), min(now.steady, time))
