"""Clients that send no more, and whether they still wait for their response or have left."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from headgate_gateway.web.requests.request_body import CONTINUE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LOOK_S = 0.05  # between two looks at the connection of a client that was asked
_CLOSE = 7  # TCP_CLOSE of Linux, the state of a connection that was reset


def ask_whether_left(
    transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, is_waiting: Callable[[], bool]
) -> None:
    """Abort the connection of a client that has left, while its request `is_waiting`.

    Its FIN does not say. So it is asked by a 100 Continue: the system of a client that has closed
    its connection resets it, and others wait on. Nothing reads what comes after a FIN, so the
    reset is looked for.
    """

    def look() -> None:
        if transport.is_closing() or not is_waiting():
            return
        if _is_reset(transport):
            transport.abort()
        else:
            loop.call_later(LOOK_S, look)

    transport.write(CONTINUE)
    loop.call_later(LOOK_S, look)


def _is_reset(transport: asyncio.Transport) -> bool:
    connection: socket.socket | None = transport.get_extra_info("socket")
    try:
        return (
            connection is not None
            and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE
        )
    except OSError:  # a Unix socket: writing to one that is closed has failed
        return False
