"""JWTs of issuers: the keys of each, from a file or a URL, and what the claims permit."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override
from yarl import URL

from headgate.shielding import shielded
from headgate_gateway.access import signed_tokens
from headgate_gateway.access.contract import Authority
from headgate_gateway.access.key_sets import KeySet, NoKeys, parse_keys
from headgate_gateway.access.operations import Grant, fill, grant_of
from headgate_gateway.access.principal import Principal, TokenRefused
from headgate_gateway.access.tokens_file import RevocationClaims  # noqa: TC001 - proofs are decoded by it
from headgate_gateway.background import Background
from headgate_gateway.errors import KeysUnavailable, Unauthenticated
from headgate_gateway.outbound.client import OutboundClient, OutboundRequest, pauses
from headgate_gateway.outbound.failures import NoResponse
from headgate_gateway.outgoing_proxies import check_proxies, environment_proxies
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from headgate_gateway.access.key_sets import PinnedKey
    from headgate_gateway.access.signed_tokens import SignedToken
    from headgate_gateway.access.tokens_file import Revocations
    from headgate_gateway.settings import JwtIssuer

# The typ of tokens that are accepted if the issuer has no `typ`: others have other purposes.
ORDINARY = frozenset({"", "jwt", "at+jwt", "application/jwt", "application/at+jwt"})
REFRESH_S = 300.0  # a key that its issuer has withdrawn is accepted no longer than that
# Keys are rotated a few times a day at most; tokens with made-up ids may come by the thousand.
UNKNOWN_EVERY_S = 10.0
FETCH_S = 5.0  # also the longest wait of a request whose key is unknown
LARGEST_SET = 256 << 10


class RemoteKeys(Background):
    """The latest key set from a URL. After a failed fetch, the keys before it stay in use.

    A set without keys withdraws them all. `keys` is None before the first successful fetch.
    `on_change` is called after each change of the keys. `trouble` says why the last fetch failed,
    in words that follow "it".
    """

    def __init__(
        self, url: str, algorithms: Collection[str], on_change: Callable[[], None]
    ) -> None:
        self._url = url
        self.public_url = url.partition("?")[0]  # without the query, which may have a secret
        self._algorithms = algorithms
        self._on_change = on_change
        self._client = OutboundClient("jwks", proxies=environment_proxies())
        check_proxies([url])
        self._fetching: asyncio.Task[None] | None = None
        self._requested_at = -UNKNOWN_EVERY_S
        self._content: bytes | None = None
        self.keys: KeySet | None = None
        self.trouble: str | None = None

    def adopt(self, earlier: RemoteKeys) -> None:
        """Use the keys that were fetched from the same URL before, until others are."""
        self.keys, self._content = earlier.keys, earlier._content

    async def look_again(self) -> None:
        """Fetch the keys again for an unknown one, unless the last fetch was just now.

        Calls during a fetch wait for that one.
        """
        now = asyncio.get_running_loop().time()
        if self._fetching is None and now - self._requested_at < UNKNOWN_EVERY_S:
            return
        await self._fetch()

    @override
    async def stop(self) -> None:
        """Stop fetching, and close the connection."""
        await super().stop()
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._client.close()

    @override
    async def _run(self) -> None:
        backoff = pauses()
        while True:
            await self._fetch()
            if self.trouble is None:
                backoff.reset()
                # Spread, so that the workers do not fetch all at once.
                await asyncio.sleep(REFRESH_S * (0.9 + 0.1 * random.random()))  # noqa: S311
            else:
                await asyncio.sleep(backoff.next_s())

    async def _fetch(self) -> None:
        """Fetch once for all callers; a cancelled caller does not end the fetch for the others."""
        if self._fetching is None:
            loop = asyncio.get_running_loop()
            self._requested_at = loop.time()
            self._fetching = loop.create_task(self._attempt())
        await shielded(self._fetching)

    async def _attempt(self) -> None:
        trouble: str | None = None
        try:
            content = await self._content_at_url()
            if content != self._content:
                self._take(content)
        except (NoResponse, ValueError) as cause:
            trouble = str(cause)
            if trouble != self.trouble:
                log.warning("access.keys_not_fetched", url=self.public_url, why=trouble)
        finally:
            self._fetching = None
        self.trouble = trouble

    def _take(self, content: bytes) -> None:
        try:
            self.keys = parse_keys(content, self._algorithms)
        except NoKeys:
            if self.keys:
                self.keys, self._content = KeySet({}), None
                self._on_change()
            raise
        self._content = content
        log.info("access.keys_fetched", url=self.public_url, keys=len(self.keys))
        self._on_change()

    async def _content_at_url(self) -> bytes:
        request = OutboundRequest("GET", URL(self._url, encoded=True), {})
        response = await self._client.call(request, FETCH_S, longest=LARGEST_SET, body_of={200})
        if response.status != 200:
            raise ValueError(f"answers {response.status}")
        if not response.is_whole:
            raise ValueError(f"sends more than {LARGEST_SET >> 10} KiB")
        return response.body


class KeysOfFile:
    """An issuer's keys in a file, which is watched all the time."""

    def __init__(self, read: Callable[[], KeySet]) -> None:
        self._read = read

    @property
    def keys(self) -> KeySet:
        """The keys as they were last read."""
        return self._read()

    async def look_again(self) -> None:
        """Return at once: the file is watched, so nothing needs to be fetched."""


class IssuerProof(NamedTuple):
    """The proof of a principal: an issuer's key, and a token that the key has signed."""

    issuer: str
    thumbprint: str
    claims: RevocationClaims


class JwtIssuers(Authority):
    """The authority for the JWTs of all issuers."""

    def __init__(
        self,
        issuers: Mapping[str, tuple[JwtIssuer, RemoteKeys | KeysOfFile]],
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

        Raises KeysUnavailable until its issuer's keys have been fetched.
        """
        parsed = signed_tokens.parse(token)
        known = self.issuers.get(signed_tokens.text(parsed.claims, "iss") or "")
        if known is None:
            raise signed_tokens.refused("is of no issuer that is known here")
        issuer, source = known
        if parsed.algorithm not in issuer.algorithms:
            raise signed_tokens.refused("is signed by no algorithm that its issuer has")
        if source.keys is None or parsed.kid not in source.keys:
            await source.look_again()
        if source.keys is None:
            # After a 401 a client would drop a token that may be valid.
            raise KeysUnavailable("the keys of the token's issuer could not be fetched yet")
        key = source.keys.signer_of(parsed)
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


def _check_claims(token: SignedToken, issuer: JwtIssuer, now: float) -> float:
    """Return until when the token is valid (epoch seconds)."""
    typ = issuer.typ.lower()
    if token.typ not in ({typ, f"application/{typ}"} if typ else ORDINARY):
        raise signed_tokens.refused("has another typ than tokens for this gateway have")
    audience = token.claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise signed_tokens.refused("is for another audience")
    return signed_tokens.check_times(token.claims, now)


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
