"""The contracts between a route, its guard and the authorities for credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from multidict import CIMultiDict

from headgate_gateway.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multidict import MultiMapping

    from headgate_gateway.access.operations import Need, Operation
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.access.reader_keys import ReaderKeys

NEEDS_TOKEN = "this needs a token: send Authorization: Bearer TOKEN"


def lacking(operations: Iterable[Operation], where: str = "") -> Forbidden:
    """Return the error for a token that lacks these operations, with where it needs them."""
    words = ", ".join(sorted(operations))
    return Forbidden(f"the token does not permit this here: it needs {words}{where}")


class Guard(Protocol):
    """The guard of one route, which decides on a request before any stream is looked up.

    With `needs_query` the decision depends on the query, so each need must have it. `delegation`
    says in words by which rule another server is asked whether to admit; "" if none is.
    """

    needs_query: bool
    delegation: str

    def adopt(self, earlier: Guard | None) -> None:  # noqa: ARG002 - for guards that know some
        """Take over the principals of the route's guard before a reload; by default none."""
        return

    def known_principal(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal | None:
        """Return the principal if it is known already and has all `needs`.

        None leaves the decision to `admit`.
        """

    async def admit(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal:
        """Return the principal. Raises Unauthenticated or Forbidden.

        The caller may turn either into a 404, to conceal the stream.
        """

    def still_admits(self, principal: Principal, needs: Sequence[Need], now: float) -> bool:
        """Return whether a principal that was admitted before still has all `needs`."""

    def has_decided(self, cache_result: str) -> bool:
        """Return whether a response with this result of the cache is itself a decision to admit.

        Then no server is asked again, although the principal has expired meanwhile.
        """

    def stripped(self, headers: MultiMapping[str]) -> CIMultiDict[str]:
        """Return the header fields of an admitted request, without the credential.

        The rest decides which readers share a cached response or a feed: a header that identifies
        a reader to the origin gives it responses of its own.
        """


def still_admits(
    guard: Guard | None, principal: Principal | None, needs: Sequence[Need], now: float
) -> bool:
    """Return whether a client still has all `needs`; without a `principal` it is anonymous.

    A revoked or expired credential ends them.
    """
    if guard is None:
        return True
    if principal is None:
        return guard.known_principal(CIMultiDict(), None, needs, now) is not None
    return guard.still_admits(principal, needs, now)


class RouteAccess(NamedTuple):
    """The access to a route: open to all without a guard.

    With `conceals`, clients that the guard refuses get a 404. Shared caches may not store the
    responses of a private route, except those to URLs with one of the `reader_keys`.
    """

    guard: Guard | None = None
    is_private: bool = False
    conceals: bool = False
    reader_keys: ReaderKeys | None = None


OPEN = RouteAccess()


class AuthenticatedClient(NamedTuple):
    """A client whose bearer token a guard has accepted. The token itself is stored nowhere."""

    guard: Guard
    principal: Principal


class Authority(Protocol):
    """An authority that verifies one kind of credential, such as static tokens or an issuer's."""

    def owns(self, token: str) -> bool:
        """Return whether the token has this authority's form, so that no other one verifies it."""

    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        """Return the token's principal; raises Unauthenticated with a reason without secrets."""

    def upholds(self, principal: Principal, now: float) -> bool:
        """Return whether the credential still counts after a change of keys or files."""
