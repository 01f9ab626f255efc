"""Listening sockets that the service manager holds open across restarts (sd_listen_fds(3)).

While one process ends and the next one starts, new connections wait in the backlog of such a
socket, and none is refused.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from headgate_gateway.errors import StartError
from headgate_gateway.settings.sections.front import front_ports

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from headgate_gateway.settings import Address, Settings

FIRST = 3  # the first descriptor that is passed
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class InheritedSockets:
    """The sockets that were passed to this process; none unless a service manager did so."""

    def __init__(self, sockets: tuple[socket.socket, ...] = ()) -> None:
        self._sockets = sockets

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> InheritedSockets:
        """Return the sockets that the environment names, and remove their variables from it.

        Raises StartError for a descriptor that is no listening socket.
        """
        variables = {name: environment.pop(name, "") for name in VARIABLES}
        if variables["LISTEN_PID"] != str(os.getpid()):  # the sockets are for a parent process
            return cls()
        count = int(variables["LISTEN_FDS"]) if variables["LISTEN_FDS"].isdecimal() else 0
        return cls(tuple(map(_listening, range(FIRST, FIRST + count))))

    def at(self, address: Address) -> list[socket.socket]:
        """Return the listening sockets for an address of the settings."""
        streams = [one for one in self._sockets if one.type == socket.SOCK_STREAM]
        return [one for one in streams if _is_at(one, address)]

    def of_front(self, settings: Settings) -> list[socket.socket]:
        """Return the sockets of the front: those of HTTPS by TCP and UDP, and of HTTP."""
        return [one for one in self._sockets if _is_of_front(one, settings)]

    @property
    def upstream(self) -> list[socket.socket]:
        """The Unix socket by which the front reaches a worker; its supervisor passes it on."""
        return [one for one in self._sockets if one.family == socket.AF_UNIX]

    def check(self, settings: Settings) -> None:
        """Raise StartError for a socket that is for no address of the settings."""
        for one in self._sockets:
            is_listener = one.type == socket.SOCK_STREAM and (
                _is_at(one, settings.listen) or _is_at(one, settings.admin.listen)
            )
            if not (is_listener or _is_of_front(one, settings)):
                where = _shown(one)
                raise StartError(
                    f"the service manager passes a socket for {where}, but listen is "
                    f"{settings.listen} and admin is {settings.admin.listen}: give them the same "
                    "address"
                )


def _listening(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    try:
        one = socket.socket(fileno=descriptor)
        is_listening = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as cause:
        raise StartError(f"LISTEN_FDS names descriptor {descriptor}, which is no socket") from cause
    # A UDP socket, which never listens, is for HTTP/3 of the front.
    if not is_listening and one.type != socket.SOCK_DGRAM:
        raise StartError(f"LISTEN_FDS names descriptor {descriptor}, which does not listen")
    one.setblocking(False)
    return one


def _is_at(one: socket.socket, address: Address) -> bool:
    """Return whether a socket listens at an address: the port decides, as hosts may be names."""
    return one.family != socket.AF_UNIX and one.getsockname()[1] == address.port


def _is_of_front(one: socket.socket, settings: Settings) -> bool:
    """Return whether a socket is for the front, if there is one."""
    ports = front_ports(settings.front.listen)
    return bool(settings.front.hosts) and any(_is_at(one, address) for address in ports)


def _shown(one: socket.socket) -> str:
    name = one.getsockname()
    return str(name) if one.family == socket.AF_UNIX else f"{name[0]}:{name[1]}"
