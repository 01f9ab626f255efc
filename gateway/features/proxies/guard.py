"""The guard of a proxy: tokens create, inspect and delete, and signed URLs read and abort."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from typing_extensions import override

from gateway.access.operations import OPERATIONS, Grant
from gateway.access.principal import Principal
from gateway.access.token_guard import TokenGuard
from gateway.features.errors import SignatureRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import MultiMapping

    from gateway.access.operations import Need
    from gateway.access.token_guard import Verifier
    from gateway.features.proxies.signatures import UrlSignatures

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
