"""The guard of a route that accepts tokens."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.access.contract import Guard
from gateway.access.credentials import without_credential
from gateway.access.operations import BELOW, Grant
from gateway.access.principal import Principal
from gateway.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import CIMultiDict, MultiMapping

    from gateway.access.operations import Need, Operation
    from gateway.access.verifier import Verifier


class TokenGuard(Guard):
    """A guard that verifies tokens; requests without one may do the operations in `anonymous`."""

    needs_query = False
    asks_by = ""
    lacks_token = "this needs a token: send Authorization: Bearer TOKEN"  # a 401's sentence

    def __init__(
        self, prefix: str, verifier: Verifier, anonymous: frozenset[Operation] = frozenset()
    ) -> None:
        self._verifier = verifier
        self._anybody = Principal("", [Grant(prefix + BELOW, anonymous)], inf)

    def adopt(self, earlier: Guard | None) -> None:
        """Know the principals that the route's guard before a reload knows."""
        if isinstance(earlier, TokenGuard):
            self._verifier.adopt(earlier._verifier)

    def watch(self, principal: Principal, now: float, *, at_once: bool) -> None:
        """Judge a principal that was stored by an earlier process, `at_once` and after changes."""
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
        lacks = ", ".join(sorted(self._lacking(principal, needs)))
        raise Forbidden(f"the token does not permit this here: it needs {lacks}")

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
