"""Failovers as the sentinels tell of them: the silence of a frozen primary tells later."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.backends.redis.servers.notifications import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.redis.servers.topology import Topology

CHANNEL = b"+switch-master"  # SERVICE, then host and port of the old primary and of the new one
TOGETHER_S = 10.0  # the sentinels tell of one failover one after the other, within seconds


class FailoverWatch:
    """Connections to all sentinels, each made again when it is lost."""

    def __init__(self, topology: Topology, switched: Callable[[], None]) -> None:
        """`switched` is called once for each failover."""
        self._service = topology.service.encode()
        self._switched = switched
        self._last_message = b""
        self._last_message_at = 0.0  # loop time
        self._subscriptions = [
            Subscription(
                topology,
                partial(topology.connector.connect_sentinel, node=node),
                CHANNEL,
                self._on_message,
                strayed=lambda _: None,  # which channels of a cluster do
            )
            for node in topology.sentinels
        ]

    def open(self) -> None:
        """Find the servers of the channels, and subscribe."""
        for subscription in self._subscriptions:
            subscription.open()

    async def close(self) -> None:
        """End all connections."""
        for subscription in self._subscriptions:
            await subscription.close()

    def _on_message(self, _: bytes, message: bytes | None) -> None:
        if message is None or message.partition(b" ")[0] != self._service:
            return
        now = asyncio.get_running_loop().time()
        if message != self._last_message or now >= self._last_message_at + TOGETHER_S:
            self._last_message, self._last_message_at = message, now
            self._switched()
