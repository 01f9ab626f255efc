"""Notifications by other gateways and by sentinels, over one connection to each server."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.retries import Backoff
from headgate_gateway.background import Background
from headgate_gateway.logs.redis.connection import Refusal, Unreachable, pack
from headgate_gateway.logs.redis.connector import ONLY
from headgate_gateway.logs.redis.replies import change_in
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.logs.redis.connection import RedisConnection, Reply
    from headgate_gateway.logs.redis.connector import Address, RedisConnector
    from headgate_gateway.logs.redis.names import RedisNames
    from headgate_gateway.logs.redis.pipeline import Connect
    from headgate_gateway.logs.redis.servers import RedisServers
    from headgate_gateway.logs.sharing import LogListener

    # Called with each message, and with None where some may have been missed until now.
    OnMessage = Callable[[bytes | None], None]

PING_S = 5.0  # silence before a PING, and then the longest wait for an answer
RECONNECT_S = 0.1  # before a lost connection is made anew; the pause doubles up to
LONGEST_AGAIN_S = 1.0  # and so a server that is back is subscribed to within this time
AT_ONCE = 1000  # channels in one command
SWITCHES = b"+switch-master"  # SERVICE, then host and port of the old primary and of the new one
TOGETHER_S = 10.0  # the sentinels report one failover one after the other, within seconds


class Subscription(Background):
    """A connection to one server that receives what is published, made anew whenever it is lost.

    `also` is a channel that is not sharded. `refused` says why the server refuses a channel.
    """

    def __init__(
        self,
        connector: RedisConnector,
        connect: Connect,
        also: bytes | None,
        on_message: Callable[[bytes, bytes | None], None],
        on_stray: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """Call `on_message` with a channel and its message, or None as in `OnMessage`.

        `on_stray` is called with each channel that is at another server of the cluster.
        """
        self._connector = connector
        self._connect = connect
        self.also = also
        self._on_message = on_message
        self._on_stray = on_stray
        self.channels: dict[bytes, None] = {}
        self._connection: RedisConnection | None = None
        self._added: list[bytes] = []
        self._dropped: list[bytes] = []
        self._serving: asyncio.Task[None] | None = None  # one connection, from its first attempt
        self.refused: str | None = None
        self._cutting: asyncio.TimerHandle | None = None
        self._last_received_at = 0.0  # loop time

    def add_plain(self, channel: bytes) -> None:
        """Subscribe to a channel that is not sharded, too."""
        self.also = channel
        if self._connection is not None:
            self._connection.send([pack("SUBSCRIBE", channel)])

    def cut(self) -> None:
        """Connect anew, even while connecting: a frozen server would delay that for seconds."""
        self._cutting = None
        if self._serving is not None:
            self._serving.cancel()

    def add(self, channel: bytes) -> None:
        """Subscribe to a channel."""
        self.channels[channel] = None
        self._flush_soon()
        self._added.append(channel)

    def drop(self, channel: bytes) -> None:
        """Unsubscribe from a channel."""
        self.channels.pop(channel, None)
        self._flush_soon()
        self._dropped.append(channel)

    def _flush_soon(self) -> None:
        if not self._added and not self._dropped:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send the channels added and dropped in one pass of the loop, but none twice."""
        added, self._added = dict.fromkeys(self._added), []
        dropped, self._dropped = dict.fromkeys(self._dropped), []
        # A new connection begins with all channels.
        self._send("SUNSUBSCRIBE", [it for it in dropped if it not in self.channels])
        self._send("SSUBSCRIBE", [it for it in added if it in self.channels])

    def _send(self, verb: str, channels: list[bytes]) -> None:
        if self._connection is None:
            return
        # On a cluster the channels of a command must be of one slot.
        most = 1 if self._connector.is_cluster else AT_ONCE
        self._connection.send(
            [pack(verb, *channels[at : at + most]) for at in range(0, len(channels), most)]
        )

    @override
    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # Not all gateways at the same moments.
        backoff = Backoff(RECONNECT_S, LONGEST_AGAIN_S, random.random)
        while True:
            began = loop.time()
            self._serving = serving = loop.create_task(self._serve())
            try:
                await asyncio.wait({serving})
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
            failure = None if serving.cancelled() else serving.exception()
            if failure is not None and not isinstance(failure, Unreachable):
                # Failures of the other kind are those of the pipelines, too, which log them.
                log.error("log.notifications_failed", exc_info=failure)
            if loop.time() - began >= LONGEST_AGAIN_S:
                backoff.reset()  # it has worked: most likely the server accepts another one at once
            else:
                await asyncio.sleep(backoff.next_s())

    async def _serve(self) -> None:
        """Connect, and receive until the connection is lost, silent or cut. Raises Unreachable."""
        connection = await self._connect()
        lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        try:
            connection.start(self._on_replies, lost.set_result)
            self._connection = connection
            self._last_received_at = asyncio.get_running_loop().time()
            # At once: a channel that is added from now on is subscribed to by itself.
            if self.also is not None:
                connection.send([pack("SUBSCRIBE", self.also)])
            self._send("SSUBSCRIBE", list(self.channels))
            await self._until_lost(connection, lost)
            server, reason = str(self._connector.origin), str(lost.result() or "closed")
            log.info("log.notifications_lost", server=server, reason=reason)
        finally:
            self._connection = None
            connection.close()

    async def _until_lost(
        self, connection: RedisConnection, lost: asyncio.Future[Exception | None]
    ) -> None:
        """Wait until the connection is lost; end it when the server does not respond any more."""
        loop = asyncio.get_running_loop()
        pinged_at = 0.0  # loop time of the last PING
        while not lost.done():
            due_at = max(self._last_received_at, pinged_at) + PING_S
            await asyncio.wait({lost}, timeout=max(due_at - loop.time(), 0.0))
            if lost.done() or loop.time() < max(self._last_received_at, pinged_at) + PING_S:
                continue
            if self._last_received_at < pinged_at:
                connection.close()
                await lost
            else:
                pinged_at = loop.time()
                connection.send([pack("PING")])

    def _on_replies(self, replies: list[Reply]) -> None:
        self._last_received_at = asyncio.get_running_loop().time()
        for reply in replies:
            match reply:
                case Refusal():
                    self._on_refusal(reply)
                case [b"smessage" | b"message", channel, message]:
                    self._on_message(channel, message)
                case [b"ssubscribe" | b"subscribe", channel, _] if (
                    channel in self.channels or channel == self.also
                ):
                    self.refused = None
                    self._on_message(channel, None)
                case [b"sunsubscribe", channel, _] if channel in self.channels:
                    del self.channels[channel]
                    self._on_stray(channel)  # its slot was moved away
                case _:
                    pass

    def _on_refusal(self, refusal: Refusal) -> None:
        if refusal.takes_no_writes:  # so Redis answers PING while it cannot write to its disk
            return
        if refusal.code == "MOVED":  # one for each channel that is not here
            strayed, self.channels = self.channels, {}
            for channel in strayed:
                self._on_stray(channel)
            return
        if self.refused is None:
            server = str(self._connector.origin)
            log.error("log.notifications_refused", server=server, reason=str(refusal))
        self.refused = f"no channel may be listened to: {refusal.meaning}"
        if self._cutting is None:  # the right may be given meanwhile
            self._cutting = asyncio.get_running_loop().call_later(LONGEST_AGAIN_S, self.cut)


class Notifications:
    """The channels of one log, each subscribed to at the server that publishes it.

    On a cluster that is one connection for each server that has a followed stream. `listener` is
    notified of the changes that other gateways publish. Sentinels announce failovers: the silence
    of a frozen primary would be noticed later.
    """

    def __init__(self, names: RedisNames, servers: RedisServers) -> None:
        self._servers = servers
        self._names = names
        self._removals_channel = names.removals_channel.encode()  # always subscribed to
        self.listener: LogListener | None = None
        self._others: dict[bytes, OnMessage] = {}  # of other channels than those of streams
        self._channels: dict[bytes, Subscription | None] = {}
        self._subscriptions: dict[Address, Subscription] = {}
        self._finding: asyncio.Task[None] | None = None
        self._last_switch = (b"", 0.0)  # the message, and its loop time
        self._sentinels: list[Subscription] = []
        self._is_closed = False

    def open(self) -> None:
        """Listen to the removals, and to the sentinels."""
        connector = self._servers.connector
        for node in connector.origin.nodes if connector.origin.kind == "sentinel" else ():
            connect = partial(connector.connect_sentinel, node)
            sentinel = Subscription(connector, connect, SWITCHES, self._on_switch)
            self._sentinels.append(sentinel)
            sentinel.start()
        self.find()

    async def close(self) -> None:
        """End all connections."""
        self._is_closed = True
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        for subscription in [*self._subscriptions.values(), *self._sentinels]:
            await subscription.stop()

    @property
    def why_unhealthy(self) -> str | None:
        """The reason why a server that answers refuses subscriptions, or None."""
        refused = (subscription.refused for subscription in self._subscriptions.values())
        return next((reason for reason in refused if reason is not None), None)

    def __len__(self) -> int:
        return len(self._channels)

    def follow(self, channel: str) -> None:
        """Subscribe to a channel, then report that earlier messages may have been missed."""
        name = channel.encode()
        self._channels[name] = None
        address = self._servers.known_address(channel)
        if address is None:
            self.find()
        else:
            self._assign(name, address)

    def unfollow(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        subscription = self._channels.pop(channel.encode(), None)
        if subscription is not None:
            subscription.drop(channel.encode())

    def subscribe(self, channel: str, on_message: OnMessage) -> None:
        """Call `on_message` with the messages on a channel, and None once that has begun."""
        self._others[channel.encode()] = on_message
        self.follow(channel)

    def unsubscribe(self, channel: str) -> None:
        """End the calls with messages on this channel."""
        self._others.pop(channel.encode(), None)
        self.unfollow(channel)

    def on_history_change(self) -> None:
        """Subscribe anew, and report it: a server may have lost what it acknowledged."""
        if self._servers.connector.is_cluster:
            self.find()
        for subscription in self._subscriptions.values():
            subscription.cut()
        if self.listener is not None:
            self.listener.on_history_change()

    def _on_switch(self, _: bytes, message: bytes | None) -> None:
        """Leave the primary that the sentinels have replaced, once for each failover."""
        service = self._servers.connector.origin.service.encode()
        if message is None or message.partition(b" ")[0] != service:
            return
        now = asyncio.get_running_loop().time()
        known, known_at = self._last_switch
        if message != known or now >= known_at + TOGETHER_S:
            self._last_switch = message, now
            self._servers.primary_at(ONLY).leave()

    def _on_message(self, channel: bytes, message: bytes | None) -> None:
        """Notify the listener of a message; None says that some may have been missed."""
        if (on_message := self._others.get(channel)) is not None:
            on_message(message)
            return
        if self.listener is None:
            return
        if channel != self._removals_channel:
            change = None if message is None else change_in(message)
            if change is None:
                self.listener.on_missed_changes(self._names.path(channel))
            else:
                self.listener.on_change(change)
        elif message is None:
            self.listener.on_missed_removals()
        else:
            version, _, meta = message.partition(b" ")
            stream_id = version.partition(b".")[0]
            if stream_id.isdigit():  # else another program published it
                self.listener.on_removal(self._names.path(meta), int(stream_id))

    def _assign(self, channel: bytes, address: Address) -> None:
        subscription = self._subscription_at(address)
        known = self._channels.get(channel)
        if known is not subscription:
            if known is not None:
                known.drop(channel)
            self._channels[channel] = subscription
            subscription.add(channel)

    def _subscription_at(self, address: Address) -> Subscription:
        subscription = self._subscriptions.get(address)
        if subscription is None:
            # Plain messages reach every server of a cluster: one subscription receives them all.
            also = None if self._subscriptions else self._removals_channel
            connector = self._servers.connector
            connect = partial(connector.connect, address)
            subscription = Subscription(connector, connect, also, self._on_message, self._on_stray)
            self._subscriptions[address] = subscription
            subscription.start()
        return subscription

    def _on_stray(self, channel: bytes) -> None:
        """Find another server for a channel that this server does not have."""
        if channel in self._channels:
            self._channels[channel] = None
            self._servers.moved()

    def find(self) -> None:
        """Find the servers of all channels, and subscribe there."""
        if self._finding is None and not self._is_closed:
            self._finding = asyncio.get_running_loop().create_task(self._find_all())

    async def _find_all(self) -> None:
        backoff = Backoff(RECONNECT_S, LONGEST_AGAIN_S)
        try:
            while True:
                try:
                    await self._match(await self._servers.addresses())
                    if self._assign_all():
                        return
                except Unreachable:
                    pass
                except Exception:  # noqa: BLE001 - the search must go on after any error
                    log.exception("log.notifications_failed")
                await asyncio.sleep(backoff.next_s())
        finally:
            self._finding = None

    def _assign_all(self) -> bool:
        """Subscribe to each channel whose server is known; return whether none is left.

        One is left if slots have moved since the servers were asked.
        """
        for channel in self._channels:
            known = self._servers.known_address(channel.decode())
            if known is not None:
                self._assign(channel, known)
        return None not in self._channels.values()

    async def _match(self, addresses: set[Address]) -> None:
        """Unsubscribe from servers that have gone; subscribe to removals at one that is there."""
        for address in set(self._subscriptions) - addresses:
            subscription = self._subscriptions.pop(address)
            for channel in subscription.channels:
                self._channels[channel] = None
            await subscription.stop()
        if not self._subscriptions:
            self._subscription_at(next(iter(addresses)))
        elif not any(one.also for one in self._subscriptions.values()):  # its server has gone
            next(iter(self._subscriptions.values())).add_plain(self._removals_channel)
