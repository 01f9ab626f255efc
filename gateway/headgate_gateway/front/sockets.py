"""The sockets of the front: Headgate holds them, so they outlive a Caddy that is killed."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate_gateway.settings.sections.front import HTTP_PORT, HTTPS_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from headgate_gateway.settings import Address

BACKLOG = 4096  # connections; browsers wait there while Caddy is restarted
# In the folder of the front:
UPSTREAM = "gateway.sock"  # of this server, for Caddy
PRIVATE = "starting.sock"  # of Caddy, until its certificates are read
ADMIN = "admin.sock"  # of Caddy, until it has the public sockets


@dataclass(frozen=True, slots=True)
class PublicSockets:
    """The sockets that browsers reach; `http` is None where the port of HTTPS is not 443."""

    tls: socket.socket
    quic: socket.socket
    http: socket.socket | None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that Caddy inherits."""
        sockets = (self.tls, self.quic, self.http)
        return tuple(one.fileno() for one in sockets if one is not None)


def open_public(
    address: Address, opened: ExitStack, inherited: Sequence[socket.socket] = ()
) -> PublicSockets:
    """Listen for HTTPS by TCP and UDP, and for HTTP beside port 443. Raises OSError.

    A socket of `inherited`, those of the service manager, is used instead of a new one; `opened`
    closes all of them.
    """

    def opened_at(port: int, kind: socket.SocketKind) -> socket.socket:
        found = [one for one in inherited if one.type == kind and one.getsockname()[1] == port]
        return opened.enter_context(found[0] if found else _bound(address.host, port, kind))

    tls = opened_at(address.port, socket.SOCK_STREAM)
    port = tls.getsockname()[1]
    quic = opened_at(port, socket.SOCK_DGRAM)
    http = opened_at(HTTP_PORT, socket.SOCK_STREAM) if port == HTTPS_PORT else None
    return PublicSockets(tls, quic, http)


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Return a socket at an address; `::` includes every IPv4 address."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - the setting asks for every address
    family, _, _, _, where = socket.getaddrinfo(host, port, type=kind)[0]
    bound = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        if kind == socket.SOCK_STREAM:
            bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def open_upstream(folder: Path) -> socket.socket:
    """Listen for Caddy on a Unix socket in the folder, which nobody else may enter. Raises OSError.

    The socket does not block.
    """
    upstream = bind_unix(folder, UPSTREAM, socket.SOCK_STREAM)
    upstream.listen(BACKLOG)
    return upstream


def bind_unix(folder: Path, name: str, kind: socket.SocketKind) -> socket.socket:
    """Return a Unix socket, which does not block, bound in the folder in place of an earlier one.

    Raises OSError.
    """
    (folder / name).unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    try:
        with short_path(folder, name) as path:
            bound.bind(path)
    except OSError:
        bound.close()
        raise
    return bound


@contextlib.contextmanager
def short_path(folder: Path, name: str) -> Iterator[str]:
    """Yield a path of a Unix socket that is valid within the block, however deep the folder is.

    The path of a Unix socket has 107 bytes at most (unix(7)), so a descriptor stands for the
    folder.
    """
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
