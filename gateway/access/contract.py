"""What a guard, those who vouch for credentials, and a route know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import CIMultiDict, MultiMapping

    from gateway.access.operations import Need
    from gateway.access.principal import Principal


class Guard(Protocol):
    """Who decides for one route, before anything of it is looked up.

    One that `goes_by_query` has to be told of it in each need.
    """

    goes_by_query: bool

    def admitted(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal | None:
        """Who may do this, where that is known at once; None where `admit` has to say."""

    async def admit(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal:
        """Who may do this. Raises Unauthenticated or Forbidden; to conceal is for who asks."""

    def still_admits(self, principal: Principal, needs: Sequence[Need], now: float) -> bool:
        """Whether somebody whose token it has accepted before may do this, by that token."""

    def stripped(self, headers: MultiMapping[str]) -> CIMultiDict[str]:
        """The header fields of a request it has admitted, without those it goes by.

        What is left says whether the reader is somebody in particular for keys and feeds.
        """


class Admitted(NamedTuple):
    """Whose bearer token a guard has accepted. What it was is kept nowhere."""

    guard: Guard
    principal: Principal


class Authority(Protocol):
    """Who vouches for one kind of credential, such as static tokens or those of an issuer."""

    def owns(self, token: str) -> bool:
        """Whether a token has the form of its own, so that nobody else is to judge it."""

    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        """Whose token it is; raises Unauthenticated with the reason, which names no secret."""

    def upholds(self, principal: Principal, now: float) -> bool:
        """Whether it would vouch again for somebody, after a change of what it knows."""
