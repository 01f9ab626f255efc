"""The guard of a proxy: tokens create, inspect and delete, and signed URLs read and abort."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from typing_extensions import override

from headgate_gateway.access.operations import OPERATIONS, Grant
from headgate_gateway.access.principal import Principal
from headgate_gateway.access.token_guard import TokenGuard
from headgate_gateway.features.errors import SignatureRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multidict import MultiMapping

    from headgate_gateway.access.operations import Need
    from headgate_gateway.access.token_guard import Verifier

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


# The parameter of the query in which the protocol's own client sends its token.
SECRET = "secret"
_BY_TOKEN = frozenset({"HEAD", "POST", "DELETE"})  # methods that a signed URL does not permit


class ProxyGuard(TokenGuard):
    """A guard that takes tokens from Authorization or the query, and the signatures of URLs."""

    needs_query = True

    def __init__(
        self, prefix: str, verifier: Verifier, signatures: UrlSignatures, *, is_open: bool
    ) -> None:
        """Let everybody do what needs no signature if the proxy `is_open`."""
        super().__init__(prefix, verifier, OPERATIONS if is_open else frozenset())
        self._prefix = prefix
        self._signatures = signatures
        self._is_open = is_open

    @override
    def known_principal(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal | None:
        if not needs or needs[0].method not in _BY_TOKEN:
            return None
        sent, below = self._sent_token(token, needs[0]), self._below(needs)
        return super().known_principal(headers, sent, below, now)

    @override
    async def admit(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal:
        need = needs[0]
        if need.method == "OPTIONS":
            return self._anybody
        if need.method not in _BY_TOKEN:
            until = self._signatures.until(need.path, need.query, now)
            if until is not None:
                return Principal("signed URL", [Grant(need.path, OPERATIONS)], until)
            if need.method != "GET":
                raise SignatureRefused(
                    "MISSING_SIGNATURE", "this needs the signed URL of the stream"
                )
        sent, below = self._sent_token(token, need), self._below(needs)
        known = super().known_principal(headers, sent, below, now)
        return known or await super().admit(headers, sent, below, now)

    def _sent_token(self, token: str | None, need: Need) -> str | None:
        """Return the token of a request; None where nobody needs one."""
        if self._is_open:
            return None
        sent = [value for key, value in parse_qsl(need.query) if key == SECRET]
        return token or (sent[0] if sent else None)

    def _below(self, needs: Sequence[Need]) -> list[Need]:
        """Return needs of which one at the prefix is below it, as grants name paths."""
        return [
            it._replace(path=f"{self._prefix}/new") if it.path.rstrip("/") == self._prefix else it
            for it in needs
        ]
