"""The clients that subscribed, and whether they still may, which is checked before each wake."""

from __future__ import annotations

import pkgutil
from math import inf
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec

from headgate_gateway.access.contract import still_admits
from headgate_gateway.access.operations import READ, Grant, Need, Operation
from headgate_gateway.access.principal import Principal, account_of
from headgate_gateway.access.token_guard import TokenGuard
from headgate_gateway.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.access.bans import Bans
    from headgate_gateway.access.contract import Guard
    from headgate_gateway.features.subscriptions.state.configuration import (
        SubscriptionConfiguration,
    )


# The modules of signed tokens load a library of 10 MB, so they are imported where one is stored.
_PLACES = {
    "StaticToken": "headgate_gateway.access.tokens_file:StaticToken",
    "Proof": "headgate_gateway.access.read_tokens:Proof",
    "IssuerProof": "headgate_gateway.access.jwt_issuers:IssuerProof",
}
# Issuers whose keys are fetched have none yet when a process starts.
_JUDGED_LATER = frozenset({"IssuerProof"})


class StoredProof(msgspec.Struct, frozen=True, array_like=True):
    """A proof by the name of its class; no proof has a token in it."""

    kind: str
    encoded: bytes

    @property
    def proof(self) -> object:
        """The proof, for its authority."""
        if self.kind not in _PLACES:
            return None
        proof_class = pkgutil.resolve_name(_PLACES[self.kind])
        return msgspec.msgpack.decode(self.encoded, type=proof_class)


def stored_proof(principal: Principal) -> StoredProof:
    """Return the proof of a principal; that of the console ends with its process."""
    kind = type(principal.proof).__name__
    known = principal.proof if kind in _PLACES else None
    return StoredProof(kind if kind in _PLACES else "", msgspec.msgpack.encode(known))


ACCESS_ENDED = "the credential that subscribed may not do this any more: confirm with another one"
BANNED = "an operator has banned the client that subscribed: it goes on when the ban ends"
_RESTORED = b"restored"  # in place of the digest of a credential, which is not stored
_APPEND: frozenset[Operation] = frozenset({"append"})


class OwnerRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """An owner as it is stored: its account, and what its credential permits until a moment."""

    account: str = ""
    name: str = ""
    grants: tuple[tuple[str, tuple[Operation, ...]], ...] = ()
    until: float | None = None  # epoch seconds; None is for ever
    proof: StoredProof | None = None  # by which it is checked again; None is anybody


class OwnerAccess:
    """Decides whether owners and workers may still act, by the route's guard and the bans."""

    def __init__(self, guard: Callable[[], Guard | None], bans: Bans) -> None:
        self.guard = guard
        self.bans = bans
        # By subscription: who has claimed its last wake. After a restart it is not known.
        self.claimers: WeakKeyDictionary[object, Principal | None] = WeakKeyDictionary()

    def watch(self, owner: Principal | None, now: float) -> None:
        """Judge an owner that was stored by an earlier process, now and after each change."""
        guard = self.guard()
        if owner is not None and isinstance(guard, TokenGuard):
            guard.watch(owner, now, at_once=stored_proof(owner).kind not in _JUDGED_LATER)

    def why_not(self, owner: Principal | None, needs: Sequence[Need], now: float) -> str | None:
        """Return why an owner may not do what its subscription needs; None if it may."""
        if self.bans.bans_account(account_of(owner)):
            return BANNED
        return None if still_admits(self.guard(), owner, needs, now) else ACCESS_ENDED

    def check_worker(self, worker: Principal | None) -> None:
        """Raise the refusal of a worker that is banned, or whose credential was revoked.

        A lease outlives a credential that expires. A worker that is not known is not refused.
        """
        if worker is None:
            return
        if self.bans.bans_account(worker.account):
            raise Forbidden("an operator has banned the client that works on this")
        if not worker.until:
            raise Unauthenticated("the credential was revoked", is_refused=True)


def owner_row(owner: Principal | None) -> OwnerRow:
    """Return an owner as it is stored."""
    if owner is None:
        return OwnerRow()
    grants = tuple((it.streams, tuple(sorted(it.operations))) for it in owner.grants)
    until = None if owner.until == inf else owner.until
    return OwnerRow(owner.account, owner.name, grants, until, stored_proof(owner))


def restore_owner(row: OwnerRow) -> Principal | None:
    """Return an owner as it was stored."""
    if row.proof is None:
        return None
    grants = [Grant(streams, frozenset(operations)) for streams, operations in row.grants]
    until = inf if row.until is None else row.until
    proof = row.proof.proof
    return Principal(row.name, grants, until, proof=proof, digest=_RESTORED, account=row.account)


def needs_of(configuration: SubscriptionConfiguration, prefix: str) -> list[Need]:
    """Return what a client needs to subscribe: to read what matches, and to append wakes."""
    needs = [Need(path, READ) for path in configuration.read_paths(prefix)]
    if configuration.wake_stream is not None:
        needs.append(Need(f"{prefix}/{configuration.wake_stream}", _APPEND))
    return needs
