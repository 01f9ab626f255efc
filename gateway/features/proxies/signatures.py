"""Signed URLs: whoever has one may read a stream, and abort its request, until it expires."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from typing_extensions import override

from gateway.features.errors import SignatureRefused

if TYPE_CHECKING:
    from collections.abc import Callable

EXPIRES, SIGNATURE = "expires", "signature"
_TIME = re.compile(r"[1-9][0-9]{0,14}")  # epoch seconds


class UrlSignatures:
    """The signatures of one secret, each of a path and a time (HMAC-SHA256)."""

    def __init__(self, secret: str, lifetime_s: int, clock: Callable[[], float]) -> None:
        """Sign URLs for `lifetime_s` seconds from now on; `clock` returns epoch seconds."""
        self._key = secret.encode()
        self._lifetime_s = lifetime_s
        self._clock = clock

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UrlSignatures):
            return NotImplemented
        return (self._key, self._lifetime_s) == (other._key, other._lifetime_s)

    __hash__ = None  # type: ignore[assignment]

    def signed(self, path: str) -> str:
        """Return a path with the query that makes it a signed URL."""
        expires = str(int(self._clock()) + self._lifetime_s)
        return f"{path}?{EXPIRES}={expires}&{SIGNATURE}={self._signature(path, expires)}"

    def until(self, path: str, query: str, now: float) -> float | None:
        """Return until when a query permits its path (epoch seconds); None if it is not signed.

        Raises SignatureRefused for a signature of another path or secret, or one that has expired.
        """
        parts = [(key, it) for key, it in parse_qsl(query) if key in {EXPIRES, SIGNATURE}]
        found = dict(parts)
        if len(found) < 2:
            return None
        expires, signature = found[EXPIRES], found[SIGNATURE]
        expected = self._signature(path, expires)
        is_signed = hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))
        if len(parts) > len(found) or _TIME.fullmatch(expires) is None or not is_signed:
            raise SignatureRefused("SIGNATURE_INVALID", "the signature is not of this stream")
        if int(expires) <= now:
            raise SignatureRefused("SIGNATURE_EXPIRED", "the signed URL has expired")
        return float(expires)

    def _signature(self, path: str, expires: str) -> str:
        message = f"{path}\n{expires}".encode(errors="replace")
        return urlsafe_b64encode(hmac.digest(self._key, message, "sha256")).decode().rstrip("=")
