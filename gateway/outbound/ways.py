"""The ways of requests through proxies: through which, and how far they have come."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from gateway.protocol.http.outgoing_proxies import Proxy

CONNECT_S = 10.0  # for a connection to a server; through a proxy, until that has connected to it


class Way:
    """The way of a request through a proxy.

    `is_at_proxy` is True while the proxy has not connected to the server yet. A request that has
    failed then has failed at the proxy.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.is_at_proxy = False
        self._clock: asyncio.Timeout | None = None

    def begin(self, clock: asyncio.Timeout) -> None:
        """Note that a connection to the proxy is being opened, within a time."""
        self.is_at_proxy, self._clock = True, clock

    def pass_proxy(self) -> None:
        """Note that the proxy has connected to the server, and end its time."""
        self.is_at_proxy = False
        if self._clock is not None:
            self._clock.reschedule(None)


# The way of the request that this task is sending; None without a proxy.
WAY: ContextVar[Way | None] = ContextVar("way", default=None)


def is_at_proxy() -> bool:
    """Return whether this task is opening a connection to a proxy."""
    way = WAY.get()
    return way is not None and way.is_at_proxy
