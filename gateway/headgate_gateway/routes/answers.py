"""The answer to a request, as a route returns it and a connection writes and counts it."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Protocol

import msgspec

from headgate_gateway.protocol.http.cache_status import CacheUse
from headgate_gateway.protocol.responses import NO_FACTS, Facts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headgate_gateway.protocol.responses import Response


class BodySource(Protocol):
    """A body that arrives in parts; its connection is held until it ends or is released."""

    def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts. Raises HeadgateError when they end too early."""

    def release(self) -> None:
        """Give up the rest of the body."""


class PushingSource(BodySource):
    """A body whose parts may also come while the next one is awaited.

    It is not a Protocol: each relayed response is checked by isinstance, which would take 20 us.
    """

    @abc.abstractmethod
    def push_to(self, write: Callable[[bytes], bool], /) -> None:
        """Write such parts with `write`; one for which it returns False is yielded."""


class RouteAnswer(msgspec.Struct, frozen=True, eq=False):
    """The answer to a request, as a route returns it and a connection writes and counts it.

    `lines` are its own header lines, without the framing. What is needed of them later
    is in `facts`: nothing searches the lines. `length` is that of a relayed body, or None if it is
    not known before the end.
    """

    status: int
    lines: bytes
    body: bytes | BodySource
    cache: CacheUse
    facts: Facts = NO_FACTS
    is_relayed: bool = False  # then its lines are before those of this server (RFC 9211)
    has_date: bool = False  # no other is added
    length: int | None = None

    @classmethod
    def of(cls, response: Response, cache: CacheUse) -> RouteAnswer:
        """Return the answer with a response of this server."""
        lines = response.fields.encode("utf-8", "surrogateescape")
        return cls(response.status, lines, response.body, cache, response.facts)
