"""The authority for static tokens, whose hashes are in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.access.contract import Authority
from gateway.access.principal import Principal
from gateway.access.static.tokens_file import StaticToken
from gateway.access.uses.credential_uses import STATIC, TokenHolder, TokenRefused
from gateway.errors import Unauthenticated
from gateway.settings.reading.token_hashes import token_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.access.static.tokens_file import TokensFile


class StaticTokens(Authority):
    """The authority for static tokens; `file` returns the present content of the tokens_file."""

    def __init__(self, file: Callable[[], TokensFile]) -> None:
        self._file = file

    @override
    def owns(self, token: str) -> bool:
        """Return whether a token is in the file, or lacks the two dots of a signed token."""
        return token.count(".") != 2 or token_digest(token) in self._file().tokens

    @override
    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        known = self._file().tokens.get(token_digest(token))
        if known is None:
            raise Unauthenticated("the token is unknown", is_refused=True)
        account = f"{STATIC} {known.name}"
        if known.name in self._file().revocations.names:
            raise TokenRefused("the token is revoked", TokenHolder(account, known.name))
        if known.until <= now:
            raise TokenRefused("the token has expired", TokenHolder(account, known.name))
        return Principal(
            known.name, known.grants, known.until, proof=known, digest=digest, account=account
        )

    @override
    def upholds(self, principal: Principal, now: float) -> bool:
        """Return whether the principal's entry in the file is unchanged, and not revoked."""
        proof = principal.proof
        if not isinstance(proof, StaticToken) or proof.until <= now:
            return False
        file = self._file()
        return file.tokens.get(proof.digest) == proof and proof.name not in file.revocations.names
