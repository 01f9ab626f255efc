"""The requests that subscriptions send to an origin themselves: they have no client."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from gateway.errors import OriginBroken, OriginBusy, StreamNotFound
from gateway.features.subscriptions.origins.origin_view import OriginEnd
from gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET
from gateway.protocol.streams.offsets import is_plain
from gateway.rules.repair import is_true
from gateway.runtime.write_journal import Write

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.origin.client import Origin

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class StreamRequests:
    """The requests for streams below one prefix. Every method raises HeadgateError."""

    def __init__(
        self, prefix: str, origin: Origin, via: str, announce: Callable[[Write], None]
    ) -> None:
        """`announce` notifies caches and live readers of an append."""
        self._prefix = prefix
        self._origin = origin
        self._via = via
        self._announce = announce

    async def end_of(self, name: str) -> OriginEnd | None:
        """Return the end of a stream, or None if there is no such stream."""
        fields = CIMultiDict({"Via": self._via})
        answer = await self._origin.send("HEAD", f"{self._prefix}/{name}", fields)
        answer.release()
        if answer.status in _GONE:
            return None
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise OriginBusy(f"the origin answered {answer.status}, and told no end of a stream")
        tail = answer.headers.get(NEXT_OFFSET)
        if answer.status != HTTPStatus.OK or tail is None or not is_plain(tail):
            raise OriginBroken(f"the origin answered {answer.status}, and told no end of a stream")
        return OriginEnd(tail, is_true(answer.headers, CLOSED))

    async def append(self, name: str, event: bytes) -> None:
        """Append a JSON message to a stream."""
        path = f"{self._prefix}/{name}"
        fields = CIMultiDict({"Via": self._via, "Content-Type": "application/json"})
        answer = await self._origin.send("POST", path, fields, event)
        answer.release()
        if answer.status in _GONE:
            raise StreamNotFound("there is no such stream at the origin")
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise OriginBroken(f"the origin answered {answer.status} to the append")
        tail = answer.headers.get(NEXT_OFFSET)
        self._announce(
            Write(prefix=self._prefix, path=path, only_grown=tail is not None, tail=tail)
        )
