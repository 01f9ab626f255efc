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
from gateway.features.delivery.documents import documents_in
from gateway.features.delivery.keys import KeyRing
from gateway.features.subscriptions.copies.cursors import CursorCopy, make_cursors
from gateway.features.subscriptions.rows import (
    AT_ONCE,
    CURSOR,
    DELIVERY,
    SUBSCRIPTION,
    SubscriptionRow,
    document_name,
    documents_of,
    parts_of,
)
from gateway.features.subscriptions.shared.lease import SubscriptionsLease, work_sharing_of
from gateway.features.subscriptions.state.delivery_state import CursorRow, DeliveryState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.features.delivery.documents import Documents
    from gateway.features.subscriptions.copies.cursors import ComparedStreams
    from gateway.logs.contract import Log


@dataclass(slots=True)
class StoredSubscription:
    """The documents of one subscription; its cursors by the name of their stream."""

    configuration: bytes
    delivery: bytes | None = None
    cursors: dict[str, bytes] = field(default_factory=dict)


async def stored_subscriptions(documents: Documents) -> dict[str, StoredSubscription]:
    """Return the subscriptions of a log by id. Raises LogUnavailable.

    Those that are created or deleted meanwhile are left out: their rows may be incomplete.
    """
    found: dict[str, StoredSubscription] = {}
    async for name, body in documents_of(documents, SUBSCRIPTION):
        found[parts_of(name)[1]] = StoredSubscription(body)
    async for name, body in documents_of(documents, DELIVERY):
        if (one := found.get(parts_of(name)[1])) is not None:
            one.delivery = body
    async for name, body in documents_of(documents, CURSOR):
        _, subscription_id, path = parts_of(name)
        if (one := found.get(subscription_id)) is not None:
            one.cursors[path] = body
    still = {parts_of(name)[1] async for name, _ in documents_of(documents, SUBSCRIPTION)}
    return {name: one for name, one in found.items() if name in still}


class RowChanges:
    """The changes of rows that make a log's subscriptions the copies of others."""

    def __init__(self) -> None:
        self._cursors: dict[str, bytes | None] = {}
        self._deliveries: dict[str, bytes | None] = {}
        self._configurations: dict[str, bytes | None] = {}
        self.subscriptions: set[str] = set()  # those that change

    def add(
        self, subscription_id: str, desired: StoredSubscription, found: StoredSubscription | None
    ) -> None:
        """Have a subscription stored as `desired`, where `found` is what is there."""
        there = StoredSubscription(b"") if found is None else found
        names = dict.fromkeys([*desired.cursors, *there.cursors])
        cursors = {
            document_name(CURSOR, subscription_id, path): desired.cursors.get(path)
            for path in names
            if desired.cursors.get(path) != there.cursors.get(path)
        }
        self._cursors |= cursors
        if desired.delivery != there.delivery:
            self._deliveries[document_name(DELIVERY, subscription_id)] = desired.delivery
        if desired.configuration != there.configuration:
            name = document_name(SUBSCRIPTION, subscription_id)
            self._configurations[name] = desired.configuration
        if found != desired:
            self.subscriptions.add(subscription_id)

    async def write(self, documents: Documents) -> None:
        """Write what changes. Raises LogUnavailable.

        A new subscription is there once its last row is. The generation of one that is there
        already follows its cursors, so that a copy that was cut short is made again.
        """
        kinds = self._cursors, self._deliveries, self._configurations
        changes = [row for rows in kinds for row in rows.items()]
        for start in range(0, len(changes), AT_ONCE):
            await documents.write(dict(changes[start : start + AT_ONCE]))


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
        delivery.wake = None
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
    ring = KeyRing(documents)
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
    """Show the gateways of a log that the owner of the lease still runs."""
    while True:
        await asyncio.sleep(BEAT_S)
        with contextlib.suppress(LogUnavailable):
            await lease.beat()
