"""Read tokens: short-lived JWTs, made for one stream or folder, that verify without a look-up.

A browser can carry them in a cookie or a URL, and an edge can verify them by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from typing_extensions import override

from headgate_gateway.access import signed_tokens
from headgate_gateway.access.contract import Authority
from headgate_gateway.access.operations import grant_of
from headgate_gateway.access.principal import Principal, TokenRefused
from headgate_gateway.access.tokens_file import RevocationClaims  # noqa: TC001 - proofs are decoded by it
from headgate_gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.access.key_sets import Keys
    from headgate_gateway.access.principal import TokenHolder
    from headgate_gateway.access.signed_tokens import SignedToken
    from headgate_gateway.access.tokens_file import Revocations

TYP: Final = "hg-read+jwt"
ALGORITHM: Final = "EdDSA"  # the name by which every library knows it
VERSION = 1


class Proof(NamedTuple):
    """The key that has signed a token, and what the token says of itself."""

    thumbprint: str
    claims: RevocationClaims


class ReadTokens(Authority):
    """The authority for read tokens; those that last longer than `max_age` seconds are refused."""

    def __init__(
        self, keys: Callable[[], Keys], revocations: Callable[[], Revocations], max_age: int
    ) -> None:
        self._keys = keys
        self._revocations = revocations
        self._max_age = max_age

    @override
    def owns(self, token: str) -> bool:
        """Return whether a token says in its header that it is a read token."""
        try:
            return signed_tokens.has_form(token) and signed_tokens.parse(token).typ == TYP
        except Unauthenticated:
            return False

    @override
    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        principal = verified(token, self._keys(), self._max_age, now, digest)
        proof = principal.proof
        assert isinstance(proof, Proof), "as it was made"
        if self._revocations().hit(proof.claims):
            raise TokenRefused("the token is revoked", _holder(proof.claims))
        return principal

    @override
    def upholds(self, principal: Principal, now: float) -> bool:
        """Return whether the file still has the key, and the token is not revoked."""
        proof = principal.proof
        return (
            isinstance(proof, Proof)
            and principal.until > now
            and self._keys().verifying.has(proof.claims.kid, proof.thumbprint)
            and not self._revocations().hit(proof.claims)
        )


def verified(token: str, keys: Keys, max_age: int, now: float, digest: bytes = b"") -> Principal:
    """Return the principal by the token and the keys alone. Raises Unauthenticated."""
    parsed = signed_tokens.parse(token)
    if parsed.typ != TYP:
        raise signed_tokens.refused("is no read token")
    key = keys.verifying.signer_of(parsed)
    issued = signed_tokens.revocation_claims(parsed)
    holder = _holder(issued)
    try:
        until = _check(parsed, issued, max_age, now)
    except Unauthenticated as refusal:
        raise TokenRefused(refusal.detail, holder) from None
    try:
        grant = grant_of(parsed.claims.get("streams"), parsed.claims.get("ops", ["read"]))
    except ValueError as cause:
        raise signed_tokens.refused(str(cause)) from None
    proof = Proof(key.thumbprint, issued)
    return Principal(
        holder.name, [grant], until, proof=proof, digest=digest, account=holder.account
    )


def _holder(issued: RevocationClaims) -> TokenHolder:
    return signed_tokens.holder_of("read-token", "", issued.subject)


def _check(token: SignedToken, issued: RevocationClaims, max_age: int, now: float) -> float:
    """Return the token's `exp`, without the leeway: the edge goes by that second, too."""
    payload = token.claims
    if payload.get("ver") != VERSION or isinstance(payload.get("ver"), bool):
        raise signed_tokens.refused("is of a version that is unknown")
    if not issued.subject or not issued.token_id or issued.at is None:
        raise signed_tokens.refused(
            "does not say for whom, when and as what it was issued (sub, iat, jti)"
        )
    signed_tokens.check_times(payload, now)
    expires = signed_tokens.moment(payload, "exp") or 0.0
    if expires <= now:
        raise signed_tokens.refused("has expired")
    if expires - issued.at > max_age:
        raise signed_tokens.refused("lasts longer than read_token_max_age allows")
    return expires
