"""Copies of subscriptions from log to log, with their cursors, generations and keys.

Leases and wakes in flight stay behind: the copy begins another wake, under a later generation.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.errors import LogUnavailable
from gateway.features.beats import BEAT_S
from gateway.features.subscriptions.copies.cursors import CursorCopy, make_cursors
from gateway.features.subscriptions.copies.stored_rows import (
    RowChanges,
    StoredSubscription,
    stored_subscriptions,
)
from gateway.features.subscriptions.sending.key_stores import key_store
from gateway.features.subscriptions.sending.signing import KeyRing
from gateway.features.subscriptions.shared.divided_work import work_sharing_of
from gateway.features.subscriptions.shared.lease import SubscriptionsLease
from gateway.features.subscriptions.state.cursors import CursorRow
from gateway.features.subscriptions.state.delivery_state import DeliveryState
from gateway.features.subscriptions.storage.documents import documents_in
from gateway.features.subscriptions.storage.rows import SubscriptionRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.features.subscriptions.copies.cursors import ComparedStreams
    from gateway.features.subscriptions.storage.documents import Documents
    from gateway.logs.contract import Log

MAX_LOST_RACES = 20  # copies in a row that a gateway of the target overtakes
OTHER = "there is another subscription with this id already"
DAMAGED = "its rows cannot be read"


@dataclass(slots=True)
class CopiedSubscriptions:
    """The outcome of a copy: of all subscriptions of the source, some have changed at the target.

    Those of `ahead` have had a later wake there, and are left as they are. Those of `refused`
    are named with the reason.
    """

    number: int = 0
    changed: int = 0
    ahead: int = 0
    refused: dict[str, str] = field(default_factory=dict)


class _Side(NamedTuple):
    """The subscriptions of one log, and its keys."""

    rows: dict[str, StoredSubscription]
    ring: KeyRing


class SubscriptionCopy:
    """The copy of all subscriptions of one log to another, whose streams are copied already."""

    def __init__(self, source: Log, target: Log, streams: ComparedStreams) -> None:
        self._source = source
        self._target = target
        self._streams = streams
        self._outcome = CopiedSubscriptions()

    async def run(self) -> CopiedSubscriptions:
        """Copy what is missing, or older at the target. Raises LogUnavailable."""
        source = await _side(_documents_of(self._source))
        for _ in range(MAX_LOST_RACES):
            target = await _side(_documents_of(self._target))
            self._outcome = CopiedSubscriptions(len(source.rows))
            changes = await self._changes(source, target)
            if not changes.subscriptions:
                return self._outcome
            async with _sole_documents(self._target) as documents:
                now = await _side(documents)
                if now.rows == target.rows and now.ring.content == target.ring.content:
                    await now.ring.join(source.ring)
                    await changes.write(documents)
                    self._outcome.changed = len(changes.subscriptions)
                    return self._outcome
        raise LogUnavailable("the subscriptions of TO are changed all the time")

    async def _changes(self, source: _Side, target: _Side) -> RowChanges:
        """Return the changes of the target's rows."""
        copies: dict[str, CursorCopy] = {}
        desired: dict[str, StoredSubscription] = {}
        for name, one in source.rows.items():
            try:
                copy = self._copy(name, one, source.ring, target)
            except msgspec.DecodeError:
                self._outcome.refused[name] = DAMAGED
                continue
            if copy is not None:
                desired[name], copies[name] = copy
        changes = RowChanges()
        if copies:
            await make_cursors(copies.values(), self._streams)
        for name, one in desired.items():
            cursors = copies[name].cursors.items()
            one.cursors = {path: msgspec.json.encode(row) for path, row in cursors}
            changes.add(name, one, target.rows.get(name))
        return changes

    def _copy(
        self, name: str, one: StoredSubscription, ring: KeyRing, target: _Side
    ) -> tuple[StoredSubscription, CursorCopy] | None:
        """Return a subscription as it is to be stored, without its cursors; None if it stays."""
        row, delivery = _row(one), _delivery(one)
        former_row = former_cursors = None
        if (former := target.rows.get(name)) is not None:
            former_row, former_cursors = _row(former), _cursors(former)
            if former_row.birth != row.birth:
                self._outcome.refused[name] = OTHER
                return None
            if _delivery(former).generation > delivery.generation:
                self._outcome.ahead += 1
                return None
        delivery.end_wake()
        configuration = one.configuration
        if row.events is not None and target.ring.content and not target.ring.has_secret_of(ring):
            resealed = _reseal_secrets(row, former_row, ring, target.ring)
            configuration = msgspec.json.encode(resealed)
        cursors = CursorCopy(row.configuration, _cursors(one), former_cursors)
        return StoredSubscription(configuration, msgspec.json.encode(delivery)), cursors


def _documents_of(log: Log) -> Documents:
    documents = documents_in(log)
    assert documents is not None, "every log that can be copied has them"
    return documents


async def _side(documents: Documents) -> _Side:
    ring = KeyRing(key_store(documents))
    await ring.reload()
    return _Side(await stored_subscriptions(documents), ring)


def _row(stored: StoredSubscription) -> SubscriptionRow:
    return msgspec.json.decode(stored.configuration, type=SubscriptionRow)


def _delivery(stored: StoredSubscription) -> DeliveryState:
    if stored.delivery is None:
        return DeliveryState()
    return msgspec.json.decode(stored.delivery, type=DeliveryState)


def _cursors(stored: StoredSubscription) -> Mapping[str, CursorRow]:
    """Return the cursors that can be read, as a start does."""
    found: dict[str, CursorRow] = {}
    for path, body in stored.cursors.items():
        with contextlib.suppress(msgspec.DecodeError):
            found[path] = msgspec.json.decode(body, type=CursorRow)
    return found


def _reseal_secrets(
    row: SubscriptionRow, former: SubscriptionRow | None, ring: KeyRing, target_ring: KeyRing
) -> SubscriptionRow:
    """Return a subscription whose secrets are encrypted with the keys of the target.

    Those that a former copy has encrypted stay as they are: each encryption is another text.
    """
    assert row.events is not None, "a host of MCP has subscribed"
    plain = [it for sealed in row.events.sealed_secrets if (it := ring.unseal(sealed))]
    sealed = () if former is None or former.events is None else former.events.sealed_secrets
    if [target_ring.unseal(it) for it in sealed] != plain:
        sealed = tuple(target_ring.seal(it) for it in plain)
    events = msgspec.structs.replace(row.events, sealed_secrets=sealed)
    return msgspec.structs.replace(row, events=events)


@contextlib.asynccontextmanager
async def _sole_documents(log: Log) -> AsyncIterator[Documents]:
    """Yield the documents of a log, which no gateway writes meanwhile, and loads anew after that.

    Raises LogUnavailable.
    """
    if (sharing := work_sharing_of(log)) is None:
        yield _documents_of(log)
        return
    lease = SubscriptionsLease(sharing)
    await lease.beat()
    await lease.take_over()
    if not lease.is_ours:
        raise LogUnavailable("a gateway of TO has just taken over its subscriptions")
    beating = asyncio.create_task(_beat(lease))
    try:
        yield sharing.ownership.documents_of(lease.owner)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await lease.resign()


async def _beat(lease: SubscriptionsLease) -> None:
    """Show the gateways of a log that whoever has the lease still runs."""
    while True:
        await asyncio.sleep(BEAT_S)
        with contextlib.suppress(LogUnavailable):
            await lease.beat()
