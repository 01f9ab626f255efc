"""The guard of a route whose credentials are tokens."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from gateway.access.operations import BELOW, Grant
from gateway.access.principal import Principal
from gateway.errors import Forbidden, StreamNotFound, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import MultiMapping

    from gateway.access.operations import Need, Operation
    from gateway.access.verifier import Verifier

ABSENT = "there is no stream at this path"  # in the words of a log that has none


class TokenGuard:
    """`anonymous` is what everybody may do below the prefix; `conceals` what the rest is told."""

    def __init__(
        self,
        prefix: str,
        verifier: Verifier,
        anonymous: frozenset[Operation] = frozenset(),
        *,
        conceals: bool = False,
    ) -> None:
        self._verifier = verifier
        self._anybody = Principal("", [Grant(prefix + BELOW, anonymous)], inf)
        self._conceals = conceals

    def admitted(
        self,
        headers: MultiMapping[str],  # noqa: ARG002 - as of any guard
        token: str | None,
        needs: Sequence[Need],
        now: float,
    ) -> Principal | None:
        """Who may do this, where that is known at once; None where `admit` has to say."""
        principal = self._anybody if token is None else self._verifier.known(token, now)
        if principal is None or not all(map(principal.may, needs)):
            return None
        return principal

    async def admit(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal:
        """Who may do this. Raises Unauthenticated, Forbidden, or StreamNotFound to conceal."""
        principal = self.admitted(headers, token, needs, now)
        if principal is not None:
            return principal
        try:
            return await self._judge(token, needs, now)
        except (Unauthenticated, Forbidden):
            if self._conceals:
                raise StreamNotFound(ABSENT) from None
            raise

    async def _judge(self, token: str | None, needs: Sequence[Need], now: float) -> Principal:
        if token is None:
            raise Unauthenticated("this needs a token: send Authorization: Bearer TOKEN")
        principal = self._verifier.known(token, now) or await self._verifier.verify(token, now)
        if all(map(principal.may, needs)) or all(map(self._anybody.may, needs)):
            return principal
        missing = sorted(
            {it for need in needs for it in need.operations if not principal.may(need)}
        )
        raise Forbidden(f"the token does not permit this here: it needs {', '.join(missing)}")
