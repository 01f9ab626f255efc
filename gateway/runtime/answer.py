"""Responses before they are written: relayed ones, and how the cache took part."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.cache.rendered import RenderedChunk
    from gateway.protocol.responses import Response


class BodySource(Protocol):
    """A body that arrives in parts; its connection is held until it ends or is released."""

    def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts. Raises HeadgateError when they end too early."""

    def release(self) -> None:
        """Give up the rest of the body."""


class PushingSource(BodySource):
    """A body whose parts may also come while the next one is awaited.

    It is no Protocol: each relayed response asks whether its body is one, and that takes 20 us.
    """

    @abc.abstractmethod
    def push_to(self, write: Callable[[bytes], bool], /) -> None:
        """Write such parts with `write`; one for which it returns False is yielded."""


class RelayedResponse(NamedTuple):
    """An origin's response: its head with line ends, and its body or the source of that.

    `own_date` and `own_cors` say that the head lacks these lines, which the gateway adds. `length`
    is that of the body, or None if it is not known before the end.
    """

    status: int
    head: bytes
    body: bytes | BodySource
    length: int | None
    own_date: bool
    own_cors: bool


class RouteAnswer(NamedTuple):
    """A route's response, and the header lines that say how the cache took part in it."""

    answer: RenderedChunk | Response | RelayedResponse
    cache: bytes
