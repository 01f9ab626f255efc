"""The guard of a route that accepts tokens: it verifies each once, and remembers its principal."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from hashlib import blake2b
from math import inf
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from typing_extensions import override

from headgate_gateway.access.contract import NEEDS_TOKEN, Guard, lacking
from headgate_gateway.access.credentials import without_credential
from headgate_gateway.access.operations import BELOW, Grant
from headgate_gateway.access.principal import CredentialUses, Principal, TokenHolder, TokenRefused
from headgate_gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from multidict import CIMultiDict, MultiMapping

    from headgate_gateway.access.contract import Authority
    from headgate_gateway.access.operations import Need, Operation


class TokenGuard(Guard):
    """A guard that verifies tokens; requests without one may do the operations in `anonymous`."""

    needs_query = False
    delegation = ""
    lacks_token = NEEDS_TOKEN  # a 401's sentence

    def __init__(
        self, prefix: str, verifier: Verifier, anonymous: frozenset[Operation] = frozenset()
    ) -> None:
        self._verifier = verifier
        self._anybody = Principal("", [Grant(prefix + BELOW, anonymous)], inf)

    @override
    def adopt(self, earlier: Guard | None) -> None:
        if isinstance(earlier, TokenGuard):
            self._verifier.adopt(earlier._verifier)

    def watch(self, principal: Principal, now: float, *, at_once: bool) -> None:
        """Check a principal that was stored by an earlier process, `at_once` and after changes."""
        self._verifier.watch(principal, now, at_once=at_once)

    @override
    def known_principal(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal | None:
        principal = self._anybody if token is None else self._verifier.known(token, now)
        if principal is None or not self._lets(principal, needs):
            return None
        return principal

    @override
    async def admit(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal:
        principal = self.known_principal(headers, token, needs, now)
        if principal is not None:
            return principal
        if token is None:
            raise Unauthenticated(self.lacks_token)
        principal = self._verifier.known(token, now) or await self._verifier.verify(token, now)
        if self._lets(principal, needs):
            return principal
        principal.use.forbidden += 1
        raise lacking(self._lacking(principal, needs))

    @override
    def still_admits(self, principal: Principal, needs: Sequence[Need], now: float) -> bool:
        if principal.until <= now:
            return False
        principal.use.at = now
        return self._lets(principal, needs)

    @override
    @staticmethod
    def has_decided(_cache_result: str) -> bool:
        return False

    @override
    @staticmethod
    def stripped(headers: MultiMapping[str]) -> CIMultiDict[str]:
        return without_credential(headers)

    def _lets(self, principal: Principal, needs: Sequence[Need]) -> bool:
        """Return whether each needed operation is granted to the principal or to everybody."""
        # Mostly one of the two has all operations, which is faster to check.
        if all(principal.may(need) or self._anybody.may(need) for need in needs):
            return True
        return not self._lacking(principal, needs)

    def _lacking(self, principal: Principal, needs: Sequence[Need]) -> set[Operation]:
        """Return the operations that neither the principal nor everybody is granted."""
        singly = [
            (it, need._replace(operations=frozenset({it}))) for need in needs for it in need[1]
        ]
        return {it for it, one in singly if not (principal.may(one) or self._anybody.may(one))}


# Total length of the tokens whose principals are remembered for each route; a verification costs
# 0.1 to 0.3 ms. A short token counts as 1 KiB, which its principal takes. A principal grows with
# its grants, and so with its token: it takes six times the length of a token that is all grants.
REMEMBERED_BYTES = 64 << 20
LEAST_BYTES = 1 << 10


class _Recent(NamedTuple):
    principal: Principal
    size: int


class Verifier:
    """The known principals of a route's tokens, by a keyed hash, never by the tokens themselves.

    `on_end` is called with each principal whose credential has been revoked. `uses` counts the
    requests with each holder's tokens.
    """

    def __init__(
        self,
        authorities: Sequence[Authority],
        on_end: Callable[[Principal], None] = lambda _: None,
        uses: CredentialUses | None = None,
    ) -> None:
        self._authorities = authorities
        self._on_end = on_end
        self.uses = CredentialUses() if uses is None else uses
        self._secret = secrets.token_bytes(32)
        self._recent: OrderedDict[bytes, _Recent] = OrderedDict()
        self._remembered_bytes = 0
        # Also those that live readers refer to after newer ones have displaced them from _recent.
        self._alive: WeakValueDictionary[bytes, Principal] = WeakValueDictionary()

    def adopt(self, earlier: Verifier) -> None:
        """Take over the principals of the route's earlier verifier; `recheck` ends some."""
        self._secret, self._recent, self._alive = earlier._secret, earlier._recent, earlier._alive
        self._remembered_bytes = earlier._remembered_bytes

    def known(self, token: str, now: float) -> Principal | None:
        """Return the token's principal if the token was verified before and is still valid."""
        digest = self._digest(token)
        principal = self._alive.get(digest)
        if principal is None or principal.until <= now:
            return None
        principal.use.at = now
        self._remember(token, digest, principal)
        return principal

    async def verify(self, token: str, now: float) -> Principal:
        """Return the token's principal. Raises Unauthenticated with a reason without secrets."""
        for authority in self._authorities:
            if authority.owns(token):
                digest = self._digest(token)
                principal = await self._verified(authority, token, digest, now)
                # Another request with the same token may have been faster. One token has one
                # principal: of two, only the last one could be ended.
                first = self.known(token, now)
                if first is not None:
                    return first
                self._alive[digest] = principal
                self._remember(token, digest, principal)
                return principal
        self.uses.unknown += 1
        raise Unauthenticated("the token is of no kind that this route takes", is_refused=True)

    async def _verified(
        self, authority: Authority, token: str, digest: bytes, now: float
    ) -> Principal:
        """Return the principal of a token, with its use. Raises Unauthenticated."""
        try:
            principal = await authority.verify(token, digest, now)
        except TokenRefused as refusal:
            self.uses.of(refusal.holder).refused += 1
            raise Unauthenticated(refusal.detail, is_refused=True) from None
        except Unauthenticated:
            self.uses.unknown += 1
            raise
        if " " in principal.account:  # all but the console itself
            principal.use = self.uses.of(_holder(principal))
            principal.use.at = now
        return principal

    def watch(self, principal: Principal, now: float, *, at_once: bool) -> None:
        """Check a principal that was stored by an earlier process, `at_once` and after changes."""
        self._alive[secrets.token_bytes(16)] = principal
        if at_once and not self._is_upheld(principal, now):
            principal.until = 0.0

    def recheck(self, now: float) -> Iterator[None]:
        """End the principals that no authority upholds any more, after a change of keys or files.

        Each step checks one principal.
        """
        for digest, principal in list(self._alive.items()):
            if not self._is_upheld(principal, now):
                principal.until = 0.0
                # A later request may have verified the same token again meanwhile.
                if self._alive.get(digest) is principal:
                    del self._alive[digest]
                    self._forget(digest)
                self._on_end(principal)
            yield

    def _is_upheld(self, principal: Principal, now: float) -> bool:
        return any(authority.upholds(principal, now) for authority in self._authorities)

    def _digest(self, token: str) -> bytes:
        return blake2b(token.encode(), key=self._secret, digest_size=16).digest()

    def _remember(self, token: str, digest: bytes, principal: Principal) -> None:
        self._forget(digest)
        size = max(len(token), LEAST_BYTES)
        self._recent[digest] = _Recent(principal, size)
        self._remembered_bytes += size
        while self._remembered_bytes > REMEMBERED_BYTES:
            self._forget(next(iter(self._recent)))

    def _forget(self, digest: bytes) -> None:
        known = self._recent.pop(digest, None)
        if known is not None:
            self._remembered_bytes -= known.size


def _holder(principal: Principal) -> TokenHolder:
    proof = principal.proof
    claims = getattr(proof, "claims", None)  # of a signed token
    return TokenHolder(
        principal.account,
        principal.name,
        getattr(proof, "issuer", ""),
        None if claims is None else claims.subject,
    )
