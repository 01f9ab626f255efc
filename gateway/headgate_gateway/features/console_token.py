"""The credential with which the console sends requests to its own gateway.

The token is made at each start, and leaves the process in no response. The console itself decides
what its users may do; to the guards it is one client with all rights.
"""

from __future__ import annotations

import hmac
import secrets
from math import inf

from typing_extensions import override

from headgate_gateway.access.contract import Authority
from headgate_gateway.access.operations import BELOW, OPERATIONS, Grant
from headgate_gateway.access.principal import CONSOLE, Principal
from headgate_gateway.protocol.http.header_names import CONSOLE_FIELD
from headgate_gateway.settings.reading.token_hashes import token_digest

SECRET_BYTES = 32
_MARK = b"console"  # what is signed by the digest, which only this server's processes know


class ConsoleToken:
    """The token of the console; guards have only its `digest`."""

    def __init__(self) -> None:
        self._secret = secrets.token_urlsafe(SECRET_BYTES)
        self.digest = token_digest(self._secret)

    def authorization(self) -> dict[str, str]:
        """Return the header field of a request of the console."""
        return {"Authorization": f"Bearer {self._secret}"}

    @property
    def marking(self) -> dict[str, str]:
        """The header field that marks a request as the console's, on any route."""
        return {CONSOLE_FIELD: console_mark(self.digest)}


def console_mark(digest: bytes) -> str:
    """Return the mark of the console's requests, for the processes that know its token's digest."""
    return hmac.new(digest, _MARK, "sha256").hexdigest()


class ConsoleAuthority(Authority):
    """The authority that recognises the console's token by its digest."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    @override
    def owns(self, token: str) -> bool:
        return hmac.compare_digest(token_digest(token), self._digest)

    @override
    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        """Return the console as a principal: `owns` has recognised its token."""
        grants = [Grant(BELOW, OPERATIONS)]
        return Principal(CONSOLE, grants, inf, proof=self, digest=digest, account=CONSOLE)

    @override
    def upholds(self, principal: Principal, now: float) -> bool:
        """Return whether the principal is the console, which it stays until the process ends."""
        return principal.proof is self
