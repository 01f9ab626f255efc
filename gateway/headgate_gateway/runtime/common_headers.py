"""The header lines that every response has: date, CORS, request id and connection."""

from __future__ import annotations

import secrets
from email.utils import formatdate
from itertools import count
from typing import TYPE_CHECKING

from headgate_gateway.protocol.http.repeated_fields import vary_line, with_one_vary
from headgate_gateway.protocol.responses import RESPONSE_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NO_REFERRER = "Referrer-Policy: no-referrer\r\n"
_EXPOSE = f"Access-Control-Expose-Headers: {RESPONSE_HEADERS}\r\n"


class CommonHeaders:
    """The lines that the gateway adds to responses: shared ones, or a response's own."""

    def __init__(
        self,
        clock: Callable[[], float],
        cors_origins: Sequence[str],
        write_origins: Sequence[str] = (),
    ) -> None:
        self._clock = clock
        self.allow_origins(cors_origins, write_origins)
        self.is_guarded = False
        self.referrer = b""
        self._date = ""
        self._shared = self._shared_date = self._shared_cors = b""
        self._varying: dict[str, bytes] = {}  # by Vary, of which own logs have one
        self._instance = secrets.token_hex(4)
        self._numbers = count(1)

    def allow_origins(self, cors_origins: Sequence[str], write_origins: Sequence[str]) -> None:
        """Let pages of these web origins read, and write without a token; `*` stands for all."""
        self._origins = frozenset(cors_origins)
        # Pages of all origins may read, so that responses do not depend on the origin.
        self.any_origin = "*" in self._origins
        # Whether these lines may have a Vary, which has to be joined with a response's. To search
        # each response for it made misses of a log in memory 2 % slower.
        self.varies = bool(self._origins) and not self.any_origin
        self._writers = frozenset(write_origins)
        self._second = -1  # nothing is rendered yet

    def guard(self, *, is_guarded: bool) -> None:
        """Add `Referrer-Policy` to all responses if some route has a guard.

        URLs of such a route may have a token.
        """
        self.is_guarded = is_guarded
        self.referrer = _NO_REFERRER.encode() if is_guarded else b""
        self._second = -1

    def names(self, origin: str) -> bool:
        """Return whether pages of this origin may read the streams."""
        return self.any_origin or origin in self._origins

    def lets_write(self, origin: str) -> bool:
        """Return whether pages of this origin may write without a token of their own."""
        return "*" in self._writers or origin in self._writers

    def new_request_id(self) -> str:
        """Return an id that no other request of this or another process has."""
        return f"{self._instance}-{next(self._numbers):x}"

    def shared(self) -> bytes:
        """Return the lines that all responses share, rendered once a second."""
        return self.shared_at(self._clock())

    def shared_at(self, now: float, vary: str = "") -> bytes:
        """Return the shared lines at `now` (epoch seconds), for callers that know the time.

        They have the only Vary line of a response that varies by `vary`, too.
        """
        if not self._second <= now < self._second + 1:
            self._render(now)
        lines = self._varying.get(vary)
        if lines is None:
            common, line = with_one_vary(self._shared, vary_line(vary))
            lines = self._varying[vary] = common + line
        return lines

    def parts_at(self, now: float) -> tuple[bytes, bytes]:
        """Return the date line and the CORS lines separately."""
        if not self._second <= now < self._second + 1:
            self._render(now)
        return self._shared_date, self._shared_cors

    def own(
        self,
        *,
        request_id: str | None,
        origin: str | None,
        connection: str | None,
        date: bool = True,
        cors: bool = True,
    ) -> bytes:
        """Return the lines of one response, by the request's id and origin, and its connection."""
        lines = self.shared_at(self._clock())
        if not (date and cors and (origin is None or self.any_origin)):
            named = self._cors(origin) if cors else ""
            lines = f"{self._date if date else ''}{named}".encode("latin-1") + self.referrer
        if request_id is not None:
            lines += f"X-Request-Id: {request_id}\r\n".encode("latin-1")
        if connection is not None:
            lines += f"Connection: {connection}\r\n".encode("latin-1")
        return lines

    def _cors(self, origin: str | None) -> str:
        if self.any_origin:
            return "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n"
        if not self._origins:
            return ""
        if origin not in self._origins:
            return "Vary: Origin\r\n"
        # Cookies permit reads only, so this header lets pages read responses and nothing else.
        credentials = "Access-Control-Allow-Credentials: true\r\n" if self.is_guarded else ""
        named = f"Access-Control-Allow-Origin: {origin}\r\n{credentials}"
        return f"{named}Vary: Origin\r\n{_EXPOSE}"

    def _render(self, now: float) -> None:
        self._second = int(now)
        self._date = f"Date: {formatdate(now, usegmt=True)}\r\n"
        self._shared_date = self._date.encode()
        self._shared_cors = self._cors(None).encode("latin-1")
        self._shared = self._shared_date + self._shared_cors + self.referrer
        self._varying = {"": self._shared}
