"""What a connection makes of bytes that are fed to it, without a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from headgate_gateway.origin.answer import Loss, OriginAnswer
from headgate_gateway.origin.connection import OriginConnection
from headgate_gateway.origin.requests import OriginMetrics
from headgate_gateway.origin.reuse import ServerConnections
from tests.origin.opening import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.errors import OriginBroken
    from headgate_gateway.origin.heads import HeadPatterns

FRAMING = frozenset({"content-length", "transfer-encoding"})


class Wire(asyncio.Transport):
    """A connection without another side."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        """The socket: there is none, and none is asked anything."""
        return self if name == "socket" else default

    def fileno(self) -> int:
        return -1

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, _: object) -> None:
        """Send to nobody."""

    def close(self) -> None:
        """Note it."""
        self.is_closed = True

    def pause_reading(self) -> None:
        """Whoever feeds decides how much comes."""

    def resume_reading(self) -> None:
        """As above."""


class Feeding(ServerConnections[OriginConnection]):
    """An endpoint and a request; it notes what the connection tells both."""

    def __init__(self, patterns: HeadPatterns, *, is_head: bool = False) -> None:
        super().__init__("s", DEFAULTS, OriginMetrics())
        self.patterns = patterns
        self.is_head = is_head
        self.answer: OriginAnswer | None = None
        self.loss: Loss | None = None
        self.is_kept = False
        self.surpluses: list[bytes] = []

    @override
    def give_back(self, connection: OriginConnection) -> None:
        self.is_kept = True

    @override
    def on_surplus(self, connection: OriginConnection, data: bytes) -> None:
        self.surpluses.append(data)

    def on_answer(self, answer: OriginAnswer) -> None:
        self.answer = answer

    def on_lost(self, loss: Loss, _: OriginBroken) -> None:
        assert loss is not Loss.UNKNOWN, "something failed"
        self.loss = loss

    def on_released(self) -> None:
        """Of an attempt."""


class Fed(NamedTuple):
    """What is told of an answer; of one that is cut, nothing but that."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes | None
    stable: object
    volatile: dict[str, str]
    by_length: bool
    is_kept: bool
    surpluses: list[bytes]


def fed(
    parts: Iterable[bytes],
    patterns: HeadPatterns,
    loop: asyncio.AbstractEventLoop,
    *,
    is_head: bool = False,
) -> Fed | Loss | None:
    """Feed parts of an answer, the last of which is the end of the connection."""
    feeding, wire = Feeding(patterns, is_head=is_head), Wire()
    connection = OriginConnection(loop, feeding, is_pooled=True)
    connection.connection_made(wire)
    connection.send(feeding, b"")
    for part in parts:
        if not wire.is_closed and not feeding.is_kept:
            connection.data_received(part)
    is_kept = feeding.is_kept
    connection.connection_lost(None)
    answer = feeding.answer
    if answer is None:
        return feeding.loss
    body = answer.body
    if answer.unread is not None:
        content = answer.unread._content
        if content.exception() is not None:
            return None
        body = content.read_nowait(-1)
    fields = [(name.lower(), value) for name, value in answer.headers.items()]
    volatile = dict(answer.volatile)
    by_length = answer.complete_by_length
    return Fed(
        *(answer.status, fields, body, answer.stable, volatile, by_length),
        *(is_kept, feeding.surpluses),
    )
