"""The guards of a process: one for each route that asks who comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.token_guard import TokenGuard
from gateway.access.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.access.contract import Authority
    from gateway.access.operations import Operation
    from gateway.access.principal import Principal


class Guards:
    """Makes them; routes that take the same kinds of credentials verify each token once.

    `authorities` are by the kind of credentials that they vouch for, as the setting `auth` names
    it. `on_end` is called with each principal whose credential was revoked.
    """

    def __init__(
        self,
        authorities: Mapping[str, Authority],
        on_end: Callable[[Principal], None] = lambda _: None,
    ) -> None:
        self._authorities = authorities
        self._on_end = on_end
        self._verifiers: dict[frozenset[str], Verifier] = {}

    def by_token(
        self, prefix: str, kinds: Sequence[str], anonymous: Sequence[Operation]
    ) -> TokenGuard:
        """The guard of a route that takes these kinds of credentials."""
        verifier = self._verifiers.get(frozenset(kinds))
        if verifier is None:
            known = [self._authorities[kind] for kind in kinds if kind in self._authorities]
            verifier = self._verifiers[frozenset(kinds)] = Verifier(known)
            verifier.on_end = self._on_end
        return TokenGuard(prefix, verifier, frozenset(anonymous))

    def judge_again(self, now: float) -> None:
        """An authority knows other things than before: end whom nobody upholds any more."""
        for verifier in self._verifiers.values():
            verifier.judge_again(now)
