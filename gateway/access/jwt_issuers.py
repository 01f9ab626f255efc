"""JWTs of issuers whose keys are known, and what their claims permit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from typing_extensions import override

from gateway.access import signed_tokens
from gateway.access.contract import Authority
from gateway.access.operations import Grant, fill, grant_of
from gateway.access.principal import Principal, TokenRefused
from gateway.access.tokens_file import RevocationClaims  # noqa: TC001 - proofs are decoded by it
from gateway.errors import KeysUnavailable, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.access.key_sets import KeySet, PinnedKey
    from gateway.access.signed_tokens import SignedToken
    from gateway.access.tokens_file import Revocations
    from gateway.settings import JwtIssuer

# The typ of tokens that are accepted if the issuer has no `typ`: others have other purposes.
ORDINARY = frozenset({"", "jwt", "at+jwt", "application/jwt", "application/at+jwt"})


class KeySource(Protocol):
    """The source of an issuer's keys."""

    @property
    def keys(self) -> KeySet | None:
        """The last keys; None as long as none could be fetched."""

    async def look_again(self) -> None:
        """Fetch the keys again for a missing one, which may have been published since."""


class IssuerProof(NamedTuple):
    """The proof of a principal: an issuer's key, and a token that the key has signed."""

    issuer: str
    thumbprint: str
    claims: RevocationClaims


class JwtIssuers(Authority):
    """The authority for the JWTs of all issuers."""

    def __init__(
        self,
        issuers: Mapping[str, tuple[JwtIssuer, KeySource]],
        revocations: Callable[[], Revocations],
    ) -> None:
        """Take the issuers and their keys by the claim `iss`."""
        self.issuers = issuers
        self._revocations = revocations

    @override
    def owns(self, token: str) -> bool:
        return signed_tokens.has_form(token)

    @override
    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        """Return the token's principal. Raises Unauthenticated.

        Raises KeysUnavailable as long as its issuer's keys have not come.
        """
        parsed = signed_tokens.parse(token)
        known = self.issuers.get(signed_tokens.text(parsed.claims, "iss") or "")
        if known is None:
            raise signed_tokens.refused("is of no issuer that is known here")
        issuer, source = known
        if parsed.algorithm not in issuer.algorithms:
            raise signed_tokens.refused("is signed by no algorithm that its issuer has")
        key = await _key_of(parsed, source)
        if not key.has_signed(parsed):
            raise signed_tokens.refused("has a signature that is wrong")
        return self._principal(parsed, issuer, key, digest, now)

    @override
    def upholds(self, principal: Principal, now: float) -> bool:
        """Return whether the issuer still has the key, and the token is not revoked."""
        proof = principal.proof
        if not isinstance(proof, IssuerProof) or principal.until <= now:
            return False
        known = self.issuers.get(proof.issuer)
        keys = None if known is None else known[1].keys
        return (
            keys is not None
            and keys.has(proof.claims.kid, proof.thumbprint)
            and not self._revocations().hit(proof.claims)
        )

    def _principal(
        self, token: SignedToken, issuer: JwtIssuer, key: PinnedKey, digest: bytes, now: float
    ) -> Principal:
        issued = signed_tokens.revocation_claims(token)
        holder = signed_tokens.holder_of("jwt", issuer.issuer, issued.subject)
        try:
            until = _check_claims(token, issuer, now)
        except Unauthenticated as refusal:
            raise TokenRefused(refusal.detail, holder) from None
        if self._revocations().hit(issued):
            raise TokenRefused("the token is revoked", holder)
        try:
            grants = [*_grants(issuer, token.claims)]
        except ValueError as cause:
            raise signed_tokens.refused(str(cause)) from None
        proof = IssuerProof(issuer.issuer, key.thumbprint, issued)
        return Principal(
            holder.name, grants, until, proof=proof, digest=digest, account=holder.account
        )


async def _key_of(token: SignedToken, source: KeySource) -> PinnedKey:
    """Return the key that is pinned for the token's algorithm and id."""
    if source.keys is None or token.kid not in source.keys:
        await source.look_again()
    if source.keys is None:
        # After a 401 a client would drop a token that may be valid.
        raise KeysUnavailable("the keys of the token's issuer could not be fetched yet")
    key = source.keys.find(token.kid, token.algorithm)
    if key is None:
        raise signed_tokens.refused("is signed by a key that is unknown, or not with its algorithm")
    return key


def _check_claims(token: SignedToken, issuer: JwtIssuer, now: float) -> float:
    """Return until when the token is valid (epoch seconds)."""
    typ = issuer.typ.lower()
    if token.typ not in ({typ, f"application/{typ}"} if typ else ORDINARY):
        raise signed_tokens.refused("has another typ than tokens for this gateway have")
    audience = token.claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise signed_tokens.refused("is for another audience")
    return signed_tokens.check_times(token.claims, issuer.leeway, now)


def _grants(issuer: JwtIssuer, claims: signed_tokens.Json) -> Iterator[Grant]:
    for template in issuer.grants:
        streams = fill(template.streams, claims)
        if streams is not None:
            yield Grant(streams, frozenset(template.operations))
    claimed = claims.get(issuer.grants_claim, []) if issuer.grants_claim else []
    if not isinstance(claimed, list):
        raise ValueError("must have a list of grants in its claim")  # noqa: TRY004 - of a token
    for grant in claimed:
        if not isinstance(grant, dict) or grant.keys() != {"streams", "operations"}:
            raise ValueError("must have streams and operations in each of its grants")
        yield grant_of(grant["streams"], grant["operations"])
