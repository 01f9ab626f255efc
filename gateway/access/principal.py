"""The principal of a request: a client whose credential was verified, or anybody."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.access.uses.credential_uses import UNCOUNTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.access.operations import Grant, Need


class Principal:
    """The client of a request, with what it may do until a moment (epoch seconds).

    `until` becomes 0 when the credential is revoked, so it is compared with the clock at each use.
    `name` is for display, and two principals may share it. `account` is unique: it is the same for
    all credentials of one kind that one client has. `digest` is a keyed hash of the credential.
    `proof` is what the authority has verified; it judges the principal by it again after a change
    of keys or files. `use` is where each admitted request notes its time.
    """

    __slots__ = ("__weakref__", "account", "digest", "grants", "name", "proof", "until", "use")

    def __init__(
        self,
        name: str,
        grants: Sequence[Grant],
        until: float,
        *,
        proof: object = None,
        digest: bytes = b"",
        account: str = "",
    ) -> None:
        self.name = name
        self.grants = tuple(grants)
        self.until = until
        self.proof = proof
        self.digest = digest
        self.account = account
        self.use = UNCOUNTED

    @override
    def __repr__(self) -> str:
        return f"Principal({self.name!r}, until={self.until})"

    @property
    def is_anybody(self) -> bool:
        """True if the principal stands for everybody: it has no credential that could end."""
        return not self.digest and self.until == inf

    def may(self, need: Need) -> bool:
        """Return whether all operations of `need` are granted, by one grant or several."""
        granted = [grant.operations for grant in self.grants if grant.covers(need.path)]
        return need.operations <= frozenset().union(*granted)


def account_of(principal: Principal | None) -> str:
    """Return the account of a principal; "" if there is none."""
    return "" if principal is None else principal.account
