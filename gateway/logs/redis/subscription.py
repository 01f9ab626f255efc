"""A connection to one server that hears channels, made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

from headgate.backoff import Backoff
from typing_extensions import override

from gateway.background import Background
from gateway.logs.redis.connection import (
    RedisConnection,
    Refusal,
    Unreachable,
    explained,
    pack,
)
from gateway.logs.redis.pipeline import connected
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.logs.redis.connection import Reply
    from gateway.logs.redis.connector import RedisConnector
    from gateway.logs.redis.pipeline import Connect

    # A channel and its message; None says that some may have been missed until now.
    Heard = Callable[[bytes, bytes | None], None]

PING_S = 5.0  # silence that is broken by a question, and then the longest wait for an answer
RECONNECT_S = 0.1  # until a lost connection is made anew; the wait doubles up to
LONGEST_AGAIN_S = 1.0  # a server that is back is heard no later
AT_ONCE = 1000  # channels in one command


class Subscription(Background):
    """The connection to one server, made anew whenever it is lost, from its start to its stop."""

    def __init__(
        self,
        connector: RedisConnector,
        connect: Connect,
        also: bytes | None,
        heard: Heard,
        strayed: Callable[[bytes], None],
    ) -> None:
        self._connector = connector
        self._connect = connect
        self.also = also
        self._heard = heard
        self._strayed = strayed
        self.channels: dict[bytes, None] = {}
        self._connection: RedisConnection | None = None
        self._added: list[bytes] = []
        self._dropped: list[bytes] = []
        self._flushes = False
        self._connecting: asyncio.Task[None] | None = None
        self.refused: str | None = None
        self._cutting: asyncio.TimerHandle | None = None
        self._last_message_at = 0.0

    @override
    async def stop(self) -> None:
        await super().stop()
        self.cut()

    def hear_also(self, channel: bytes) -> None:
        """Hear a channel of everybody's, too."""
        self.also = channel
        if self._connection is not None:
            self._connection.send([pack("SUBSCRIBE", channel)])

    def cut(self) -> None:
        """Connect anew, also in the middle of it: a frozen server would hold it up for seconds."""
        self._cutting = None
        connection = self._connection
        if connection is not None:
            self._connection = None  # it is not lost: nobody need be told
            connection.close()
        elif self._connecting is not None:
            self._connecting.cancel()

    def add(self, channel: bytes) -> None:
        """Hear a channel."""
        self.channels[channel] = None
        self._added.append(channel)
        self._flush_soon()

    def drop(self, channel: bytes) -> None:
        """Hear it no more."""
        self.channels.pop(channel, None)
        self._dropped.append(channel)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushes:
            self._flushes = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send the channels added and dropped in one pass of the loop, but none twice."""
        self._flushes = False
        added, self._added = dict.fromkeys(self._added), []
        dropped, self._dropped = dict.fromkeys(self._dropped), []
        if self._connection is None:
            return  # a new connection begins with all channels
        self._send("UNSUBSCRIBE", [it for it in dropped if it not in self.channels])
        self._send("SUBSCRIBE", [it for it in added if it in self.channels])

    def _send(self, verb: str, channels: list[bytes]) -> None:
        if self._connection is None:
            return
        shard = "S" if self._connector.sharded else ""
        if self._connector.is_cluster:  # the channels of a command must be of one slot
            self._connection.send([pack(shard + verb, channel) for channel in channels])
            return
        for at in range(0, len(channels), AT_ONCE):
            self._connection.send([pack(shard + verb, *channels[at : at + AT_ONCE])])

    @override
    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # Not all gateways at the same moments.
        backoff = Backoff(RECONNECT_S, LONGEST_AGAIN_S, random.random)
        while True:
            ended = asyncio.Event()
            connection = RedisConnection(self._replies, partial(self._lost, ended))
            began = loop.time()
            if await self._is_opened(connection):
                await self._stay(connection, ended)
            if loop.time() - began >= LONGEST_AGAIN_S:
                backoff.reset()  # it has served: most likely another one is had for the asking
            else:
                await asyncio.sleep(backoff.next_s())

    async def _open(self, connection: RedisConnection) -> None:
        await connected(self._connect, connection)
        self._connection = connection if connection.is_open else None
        self._last_message_at = asyncio.get_running_loop().time()
        # At once: a channel that is added from now on is subscribed to by itself.
        if self.also is not None:
            connection.send([pack("SUBSCRIBE", self.also)])
        self._send("SUBSCRIBE", list(self.channels))

    async def _is_opened(self, connection: RedisConnection) -> bool:
        """Return whether the connection was opened, and not cut meanwhile."""
        connecting = asyncio.get_running_loop().create_task(self._open(connection))
        self._connecting = connecting
        try:
            await asyncio.wait({connecting})
        except asyncio.CancelledError:
            connecting.cancel()
            await asyncio.wait({connecting})
            connection.close()  # it may have been made
            raise
        finally:
            self._connecting = None
        if connecting.cancelled():
            return False
        failure = connecting.exception()
        if failure is not None and not isinstance(failure, Unreachable):
            # Of the others the pipelines tell.
            log.error("log.notifications_failed", exc_info=failure)
        return failure is None

    async def _stay(self, connection: RedisConnection, ended: asyncio.Event) -> None:
        """Wait until the connection is lost, or does not respond any more."""
        loop = asyncio.get_running_loop()
        asked_at = 0.0  # loop time of the last PING
        while not ended.is_set():
            try:
                async with asyncio.timeout_at(max(self._last_message_at, asked_at) + PING_S):
                    await ended.wait()
            except TimeoutError:
                if self._last_message_at < asked_at:
                    connection.close()
                elif loop.time() >= self._last_message_at + PING_S:
                    asked_at = loop.time()
                    connection.send([pack("PING")])

    def _lost(self, ended: asyncio.Event, error: Exception | None) -> None:
        if self._connection is not None:
            server = str(self._connector.origin)
            log.info("log.notifications_lost", server=server, reason=str(error or "closed"))
        self._connection = None
        ended.set()

    def _replies(self, replies: list[Reply]) -> None:
        self._last_message_at = asyncio.get_running_loop().time()
        for reply in replies:
            self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        match reply:
            case Refusal():
                self._refused(reply)
            case [b"smessage" | b"message", channel, message]:
                self._heard(channel, message)
            case [b"ssubscribe" | b"subscribe", channel, _] if (
                channel in self.channels or channel == self.also
            ):
                self.refused = None
                self._heard(channel, None)
            case [b"sunsubscribe", channel, _] if channel in self.channels:
                del self.channels[channel]
                self._strayed(channel)  # its slot was moved away
            case _:
                pass

    def _refused(self, refusal: Refusal) -> None:
        if refusal.code == "MOVED":  # one for each channel that is not here
            strayed, self.channels = self.channels, {}
            for channel in strayed:
                self._strayed(channel)
            return
        if self.refused is None:
            server = str(self._connector.origin)
            log.error("log.notifications_refused", server=server, reason=refusal.text)
        self.refused = f"no channel may be listened to: {explained(refusal.text)}"
        if self._cutting is None:  # the right may be given meanwhile
            self._cutting = asyncio.get_running_loop().call_later(LONGEST_AGAIN_S, self.cut)
