"""The addresses that a process listens on: messages when that fails, admin listener and front."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from admin.source import Setup
from gateway import app
from gateway.backends.registry import formats
from gateway.errors import StartError
from gateway.settings import variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AsyncExitStack

    from admin.source import ProcessSource
    from gateway.access.console import ConsoleToken
    from gateway.front.front import Front
    from gateway.process.reloader import Reloader
    from gateway.settings import Address, Settings
    from gateway.tls.handshakes import Handshakes

# Advice for an address that cannot be listened on, by errno.
WAYS_OUT = {
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
    """Open the admin listener: console, health checks and metrics. Raises StartError."""
    from admin import app as application  # 1 MB, which workers do not need
    from gateway.admin_listener import AdminBounds, AdminListener, with_admin_bounds

    settings = reloader.settings
    shared = app.shared_by_all(with_admin_bounds(settings), time.time)
    shared.add_to_refusals(application.REFUSAL_LINES)
    handshakes = open_tls(settings, opened, "admin_")
    bounds = AdminBounds(shared, handshakes)

    def current_formats() -> dict[str, str]:
        return formats(reloader.settings.route_table)

    setup = Setup(reloader, current_formats, time.time, console, bounds)
    address = settings.admin
    listener = AdminListener(application.build(source, setup), bounds, settings.keepalive_timeout)
    opened.push_async_callback(listener.close)
    with explaining(address, "admin"):
        await listener.open(address, inherited)


def open_front(
    settings: Settings, opened: AsyncExitStack, inherited: Sequence[socket.socket] = ()
) -> Front | None:
    """Open the sockets of the front, if there is one; `opened` closes them. Raises StartError."""
    if not settings.front:
        return None
    from gateway.front.front import Front  # for those who have one only

    with explaining(settings.front_listen, "front_listen"):
        front = Front(settings, inherited)
    opened.callback(front.close)
    return front


def open_tls(
    settings: Settings, opened: AsyncExitStack, prefix: Literal["", "admin_"] = ""
) -> Handshakes | None:
    """Read and watch the certificate of a listener; None if it speaks plain HTTP.

    `prefix` is that of its settings. Raises StartError for files that cannot be used.
    """
    setting = f"{prefix}tls_certificate"
    certificate = getattr(settings, setting)
    if not certificate:
        return None
    from gateway.tls.certificate_files import CertificateFiles, TlsFiles
    from gateway.tls.handshakes import Handshakes, log_unless_reset  # 3 MB, for those who have TLS

    key, client_ca = (getattr(settings, f"{prefix}tls_{what}") for what in ("key", "client_ca"))
    minimum = settings.tls_minimum_version
    files = CertificateFiles(TlsFiles(setting, certificate, key, client_ca, minimum))
    files.start()
    opened.push_async_callback(files.stop)
    asyncio.get_running_loop().set_exception_handler(log_unless_reset)
    return Handshakes(files)


@contextmanager
def explaining(address: Address, key: str) -> Iterator[None]:
    """Turn an OSError into a StartError that names the setting and says what to do."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if isinstance(error, socket.gaierror):  # its errno is not one of the system's
            reason = error.strerror or reason
        if error.errno in WAYS_OUT:
            flag = f"--{key.replace('_', '-')}"
            reason += f"; {WAYS_OUT[error.errno]}, with {key}, {variable(key)} or {flag}"
        raise StartError(f"cannot listen on {address} ({key}): {reason}") from error
