"""The ways of requests through proxies: through which, and how far they have come."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate_gateway.protocol.http.outgoing_proxies import Proxy

CONNECT_S = 10.0  # for a connection to a server, with its TLS and the tunnel of a proxy


class Way:
    """The way of a request through a proxy.

    `is_at_proxy` is True while the proxy has not connected to the server yet. A request that has
    failed then has failed at the proxy.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.is_at_proxy = False


# The way of the request that this task is sending; None without a proxy.
WAY: ContextVar[Way | None] = ContextVar("way", default=None)


def is_at_proxy() -> bool:
    """Return whether this task is opening a connection to a proxy."""
    way = WAY.get()
    return way is not None and way.is_at_proxy
