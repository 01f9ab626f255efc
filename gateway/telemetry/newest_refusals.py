"""The newest responses with 4xx or 5xx of a process, for the console."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.telemetry.inspection import RefusedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_REFUSALS = 200  # two screens; with bodies of some 200 bytes they take 100 kB
LONGEST_BODY = 2048  # bytes; the sentences of this gateway are shorter


class _Noted(NamedTuple):
    at: float
    request_id: str
    route: str
    status: int
    body: bytes
    client: str | None


class _ProblemDocument(msgspec.Struct):
    """The part of a problem document (RFC 9457) that is for people."""

    detail: str = ""


_decoder = msgspec.json.Decoder(_ProblemDocument)


class NewestRefusals:
    """A ring of MOST_REFUSALS. Bodies are parsed only when somebody asks for the list."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns epoch seconds."""
        self._clock = clock
        self._noted: deque[_Noted] = deque(maxlen=MOST_REFUSALS)

    def note(
        self, request_id: str, route: str, status: int, body: bytes, client: str | None
    ) -> None:
        """Note a response; a body longer than LONGEST_BODY is not kept."""
        kept = body if len(body) <= LONGEST_BODY else b""
        self._noted.append(_Noted(self._clock(), request_id, route, status, kept, client))

    def listed(self) -> tuple[RefusedRequest, ...]:
        """Return them, the newest first."""
        return tuple(
            RefusedRequest(it.at, it.request_id, it.route, it.status, _detail(it.body), it.client)
            for it in reversed(self._noted)
        )


def _detail(body: bytes) -> str:
    try:
        return _decoder.decode(body).detail
    except msgspec.DecodeError:  # no document of this gateway
        return ""
