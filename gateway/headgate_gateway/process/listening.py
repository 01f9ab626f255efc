"""Open the admin listener, the front and TLS; explain why an address cannot be listened on."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headgate_gateway import app
from headgate_gateway.errors import StartError
from headgate_gateway.features.questions.process_source import Setup
from headgate_gateway.logs.registry import formats
from headgate_gateway.process.clock_watch import ClockWatch, running_s
from headgate_gateway.settings import variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AsyncExitStack

    from headgate_gateway.features.console_token import ConsoleToken
    from headgate_gateway.features.questions.process_source import ProcessSource
    from headgate_gateway.front.front import Front
    from headgate_gateway.process.inherited_sockets import InheritedSockets
    from headgate_gateway.process.reloader import Reloader
    from headgate_gateway.settings import Address, Settings, TlsFiles
    from headgate_gateway.tls.handshakes import Handshakes

# What to do about an address that cannot be listened on, by errno.
ADVICE = {
    errno.EADDRINUSE: "end what listens there, or choose another address",
    errno.EADDRNOTAVAIL: "choose an address of this machine, or 0.0.0.0 for every IPv4 address",
    errno.EACCES: "choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE",
}


async def open_admin(
    source: ProcessSource,
    reloader: Reloader,
    console: ConsoleToken,
    opened: AsyncExitStack,
    inherited: Sequence[socket.socket] = (),
) -> None:
    """Open the admin listener: console, health checks and metrics. Raises StartError.

    The settings of the server that it shows are watched from now on.
    """
    from headgate_admin import app as application  # 1 MB, which workers do not need
    from headgate_gateway.process.admin_listener import (
        AdminBounds,
        AdminListener,
        with_admin_bounds,
    )

    settings = reloader.settings
    services = app.make_services(
        with_admin_bounds(settings),
        time.time,
        refusal_lines=application.REFUSAL_LINES,
        files=None,
    )
    handshakes = open_tls(settings.admin_tls, opened)
    reloader.on_prepare.append(lambda new: prepare_tls(handshakes, new.admin_tls))
    bounds = AdminBounds(services, handshakes)

    reloader.watches.append(ClockWatch(time.time, running_s))
    reloader.written.start()
    opened.push_async_callback(reloader.written.stop)
    setup = Setup(
        reloader, lambda: formats(reloader.settings.route_table), time.time, console, bounds
    )
    address = settings.admin.listen
    listener = AdminListener(
        application.build(source, setup), bounds, settings.http.keepalive_timeout
    )
    opened.push_async_callback(listener.close)
    with explaining(address, "admin"):
        await listener.open(address, inherited)


def check_free(settings: Settings, inherited: InheritedSockets) -> None:
    """Raise StartError if the listeners' addresses are in use, before the start writes any file."""
    for key, address in (("listen", settings.listen), ("admin", settings.admin.listen)):
        if inherited.at(address):
            continue
        with explaining(address, key):
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            for family, _, _, _, where in found:
                bound(family, (where[0], address.port), shared=False).close()


def bound(family: int, where: tuple[str | int, int], *, shared: bool) -> socket.socket:
    """Return a socket at an address, which does not listen yet. Raises OSError."""
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind(where)
    except OSError:
        held.close()
        raise
    return held


def open_front(
    settings: Settings, opened: AsyncExitStack, inherited: Sequence[socket.socket] = ()
) -> Front | None:
    """Open the sockets of the front, if there is one; `opened` closes them. Raises StartError."""
    if not settings.front.hosts:
        return None
    from headgate_gateway.front.front import Front  # only with a front

    with explaining(settings.front.listen, "front.listen"):
        front = Front(settings, time.time, inherited)
    opened.callback(front.close)
    return front


def open_tls(files: TlsFiles | None, opened: AsyncExitStack) -> Handshakes | None:
    """Read and watch the files of a listener; None if it speaks plain HTTP.

    Raises StartError for files that cannot be used.
    """
    if files is None:
        return None
    from headgate_gateway.tls.handshakes import Handshakes, log_unless_reset  # 3 MB, only with TLS

    handshakes = Handshakes(files, time.time)
    opened.push_async_callback(handshakes.stop)
    asyncio.get_running_loop().set_exception_handler(log_unless_reset)
    return handshakes


def prepare_tls(handshakes: Handshakes | None, files: TlsFiles | None) -> Callable[[], None]:
    """Return a function that puts the files of a reload in force. Raises StartError.

    Only a restart changes whether a listener speaks TLS, which the reload refuses elsewhere.
    """
    if handshakes is None or files is None:
        return lambda: None
    return handshakes.prepare(files)


@contextmanager
def explaining(address: Address, key: str) -> Iterator[None]:
    """Turn an OSError into a StartError that names the setting and says what to do."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if isinstance(error, socket.gaierror):  # its errno is not one of the system's
            reason = error.strerror or reason
        if error.errno in ADVICE:
            flag = "" if "." in key else f"--{key}, "
            name = variable(tuple(key.split(".")))
            reason += f"; {ADVICE[error.errno]}, with {flag}{key} or {name}"
        raise StartError(f"cannot listen on {address} ({key}): {reason}") from error
