"""The rows of subscriptions as they are in a log, for copies from log to log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.features.subscriptions.storage.row_names import (
    AT_ONCE,
    CURSOR,
    DELIVERY,
    SUBSCRIPTION,
    document_name,
    documents_of,
    parts_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.features.subscriptions.storage.documents import Documents


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
        changes = list(self._rows_in_order())
        for start in range(0, len(changes), AT_ONCE):
            await documents.write(dict(changes[start : start + AT_ONCE]))

    def _rows_in_order(self) -> Iterator[tuple[str, bytes | None]]:
        for rows in (self._cursors, self._deliveries, self._configurations):
            yield from rows.items()
