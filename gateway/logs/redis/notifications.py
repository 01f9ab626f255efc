"""Notifications by other gateways, over one connection to each server for all channels."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from headgate.backoff import Backoff

from gateway.logs.redis.commands import change_in
from gateway.logs.redis.connection import Unreachable
from gateway.logs.redis.subscription import LONGEST_AGAIN_S, RECONNECT_S, Subscription
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.logs.redis.connector import Address
    from gateway.logs.redis.names import RedisNames
    from gateway.logs.redis.redis_servers import RedisServers
    from gateway.logs.sharing import LogListener

    # Called with each message, and with None where some may have been missed until now.
    OnMessage = Callable[[bytes | None], None]


class Notifications:
    """The channels of one log, each heard at the server that publishes it.

    On a cluster that is one connection for each server that has a followed stream. `listener` is
    notified of the changes that other gateways publish.
    """

    def __init__(self, servers: RedisServers, names: RedisNames) -> None:
        self._servers = servers
        self._names = names
        self._removals_channel = names.removals_channel.encode()  # always heard
        self.listener: LogListener | None = None
        self._others: dict[bytes, OnMessage] = {}  # of other channels than those of streams
        self._channels: dict[bytes, Subscription | None] = {}
        self._subscriptions: dict[Address, Subscription] = {}
        self._finding: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def why_unhealthy(self) -> str | None:
        """The reason why a server that answers refuses subscriptions, or None."""
        refused = (subscription.refused for subscription in self._subscriptions.values())
        return next((reason for reason in refused if reason is not None), None)

    def __len__(self) -> int:
        return len(self._channels)

    async def close(self) -> None:
        """End all connections."""
        self._closed = True
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        for subscription in self._subscriptions.values():
            await subscription.stop()

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
        """Hear a channel no more."""
        self._others.pop(channel.encode(), None)
        self.unfollow(channel)

    def on_history_change(self) -> None:
        """Subscribe anew, since a server may have lost what it acknowledged, and say so."""
        if self._servers.connector.is_cluster:
            self.find()
        for subscription in self._subscriptions.values():
            subscription.cut()
        if self.listener is not None:
            self.listener.on_history_change()

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
            # Plain messages reach every server of a cluster: one subscription hears them all.
            also = None if self._subscriptions else self._removals_channel
            connector = self._servers.connector
            connect = partial(connector.connect, address=address)
            subscription = Subscription(connector, connect, also, self._on_message, self._strayed)
            self._subscriptions[address] = subscription
            subscription.start()
        return subscription

    def _strayed(self, channel: bytes) -> None:
        """Find another server for a channel that this server does not have."""
        if channel in self._channels:
            self._channels[channel] = None
            self._servers.moved()

    def find(self) -> None:
        """Find the servers of all channels, and subscribe there."""
        if self._finding is None and not self._closed:
            self._finding = asyncio.get_running_loop().create_task(self._find_all())

    async def _find_all(self) -> None:
        backoff = Backoff(RECONNECT_S, LONGEST_AGAIN_S)
        try:
            while True:
                try:
                    await self._settle(await self._servers.addresses())
                    if self._assign_all():
                        return
                except Unreachable:
                    pass
                except Exception:  # noqa: BLE001 - it must outlive whatever it was
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

    async def _settle(self, addresses: list[Address]) -> None:
        """Leave the servers that have gone, and hear the removals at one that is there."""
        for address in set(self._subscriptions) - set(addresses):
            subscription = self._subscriptions.pop(address)
            for channel in subscription.channels:
                self._channels[channel] = None
            await subscription.stop()
        if not self._subscriptions:
            self._subscription_at(addresses[0])
        elif not any(one.also for one in self._subscriptions.values()):  # its server has gone
            next(iter(self._subscriptions.values())).hear_also(self._removals_channel)
