"""The Redis of a log for callers that await replies, and for what is built on the log."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from gateway.backends.redis.connection import pack
from gateway.backends.redis.servers.call import AT_RISK, CallReplies, RedisCall
from gateway.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.backends.redis.commands import Channels
    from gateway.backends.redis.connection import Packed, Reply
    from gateway.backends.redis.names import RedisNames
    from gateway.backends.redis.servers.primaries import Primaries
    from gateway.backends.redis.sharing import OnMessage, PublishedChanges


class RedisStore:
    """Calls to the servers of one log, by the key that they concern, and its channels.

    Keys and channels of others than the log begin with `prefix`, ":" and a name of their own; what
    follows that in brackets or braces never makes it a key of a stream.
    """

    def __init__(
        self,
        names: RedisNames,
        primaries: Primaries,
        changes: PublishedChanges,
        channels: Channels,
        wait_replicas: int,
    ) -> None:
        self.prefix = names.prefix
        self._names = names
        self._primaries = primaries
        self._changes = changes
        self._channels = channels
        self._wait_replicas = wait_replicas

    async def execute(
        self, key: str, *calls: Packed, commits: bool = False, expected: int = 0
    ) -> list[Reply]:
        """Return the replies of the server that has `key`. Raises LogUnavailable.

        `expected` is about how many bytes they may be, where they are many.
        """
        return (await self._reply(key, calls, commits=commits, expected=expected)).replies

    async def commit(self, key: str, call: Packed) -> Reply:
        """Return the reply to a write, once `wait_replicas` have it. Raises LogUnavailable."""
        replies, replicas, _ = await self._reply(key, [call], commits=True, expected=0)
        wanted = self._wait_replicas
        if wanted and not (isinstance(replicas, int) and replicas >= wanted):
            raise LogUnavailable(AT_RISK)
        return replies[-1]

    async def _reply(
        self, key: str, calls: Sequence[Packed], *, commits: bool, expected: int
    ) -> CallReplies:
        replied: asyncio.Future[CallReplies] = asyncio.get_running_loop().create_future()
        done = partial(_settle, replied)
        RedisCall(self._primaries, key, calls, done, commits=commits, expected=expected).go()
        return await replied

    def publish(self, channel: str, message: bytes) -> Packed:
        """Return the call, for the server of `channel`, which replies how many hear it."""
        return pack("SPUBLISH" if self._channels.sharded else "PUBLISH", channel, message)

    async def followers(self, path: str) -> int:
        """Return how many gateways follow a stream, this one included once that has begun."""
        channel = self._names.meta(path)
        kind = "SHARDNUMSUB" if self._channels.sharded else "NUMSUB"
        (reply,) = await self.execute(channel, pack("PUBSUB", kind, channel))
        return int(reply[1])

    def subscribe(self, channel: str, on_message: OnMessage) -> None:
        """Call `on_message` with the messages on a channel, and None once that has begun."""
        self._changes.others[channel.encode()] = on_message
        self._changes.notifications.follow(channel)

    def unsubscribe(self, channel: str) -> None:
        """Hear a channel no more."""
        self._changes.others.pop(channel.encode(), None)
        self._changes.notifications.unfollow(channel)


T = TypeVar("T")


def _settle(replied: asyncio.Future[T], answer: T | LogUnavailable) -> None:
    if replied.done():
        return
    if isinstance(answer, LogUnavailable):
        replied.set_exception(answer)
    else:
        replied.set_result(answer)
