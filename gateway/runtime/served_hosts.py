"""The hosts that this server answers for, as requests name them.

A malicious page can let its own host name resolve to this machine (DNS rebinding). A browser then
takes this server for the page's own, and only the name in `Host` shows that it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import MisdirectedRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

# Names of this machine, which no other site can have.
_OF_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class ServedHosts:
    """The hosts that requests may name: any, or those `named` and this machine."""

    def __init__(self, named: Iterable[str] = (), reached_at: str = "localhost") -> None:
        """Take the host at which programs on this machine reach the server as `reached_at`."""
        some = frozenset(_bare(host) for host in named)
        self._served = some | {*_OF_THIS_MACHINE, _bare(reached_at)} if some else None

    def serves(self, host: str) -> bool:
        """Return whether a Host field, with or without a port, names a served host."""
        return self._served is None or _bare(host) in self._served

    def check(self, host: str) -> None:
        """Raise MisdirectedRequest unless the host is served."""
        if not self.serves(host):
            raise MisdirectedRequest("Host names none of the hosts in `hosts`")


def _bare(host: str) -> str:
    """Return a host in lower case without its port, and IPv6 without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.lower() if host.count(":") > 1 else host.partition(":")[0].lower()
