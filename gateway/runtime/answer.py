"""An answer before it is written, and what is known of it besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.cache.rendered import RenderedChunk
    from gateway.protocol.responses import Response


class BodySource(Protocol):
    """A body that comes in parts, held until it ends, is released, or its request ends."""

    def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts. Raises HeadgateError when they end too early."""

    def release(self) -> None:
        """Let the body go: no more of it is wanted."""


class Relayed(NamedTuple):
    """An origin's answer: its head, line ends included, and its body or where it comes from.

    `own_date` and `own_cors` say that the head lacks these lines, which we then add. A `length` of
    None is not known before the end.
    """

    status: int
    head: bytes
    body: bytes | BodySource
    length: int | None
    own_date: bool
    own_cors: bool


class RouteAnswer(NamedTuple):
    """An answer, and the header lines that say how the cache had part in it."""

    answer: RenderedChunk | Response | Relayed
    cache: bytes
