"""Subscriptions as documents of the log: what has changed is written together, in one sync."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import msgspec

from headgate.json_values import NOT_JSON
from headgate.shielding import shielded
from headgate_gateway.errors import HeadgateError, LogUnavailable
from headgate_gateway.features.subscriptions.state.configuration import SubscriptionConfiguration
from headgate_gateway.features.subscriptions.state.delivery_state import CursorRow, DeliveryState
from headgate_gateway.features.subscriptions.state.owners import OwnerRow, owner_row, restore_owner
from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Sequence

    from headgate_gateway.features.subscriptions.delivery.documents import Documents
    from headgate_gateway.features.subscriptions.state.subscription import StreamLink


AT_ONCE = 1_000  # documents in one transaction, a few milliseconds of the log's writer

CURSOR, DELIVERY, SUBSCRIPTION = KINDS = "cursor", "delivery", "subscription"


def document_name(kind: str, subscription_id: str, path: str = "") -> str:
    """Return the name of a document of a subscription, or of its link to a stream."""
    name = f"{kind}/{quote(subscription_id, safe='')}"
    return f"{name}/{path}" if path else name


def parts_of(name: str) -> tuple[str, str, str]:
    """Return the kind, the subscription and the stream in the name of a document."""
    kind, _, rest = name.partition("/")
    subscription_id, _, path = rest.partition("/")
    return kind, unquote(subscription_id), path


async def documents_of(documents: Documents, kind: str) -> AsyncIterator[tuple[str, bytes]]:
    """Yield the documents of one kind, by name. Raises LogUnavailable."""
    beginning = after = f"{kind}/"
    while page := await documents.read(after, AT_ONCE):
        for name, body in page:
            if not name.startswith(beginning):
                return
            yield name, body
        after = page[-1][0]


async def stored_number(documents: Documents) -> int:
    """Return how many subscriptions a log has. Raises LogUnavailable."""
    return len([name async for name, _ in documents_of(documents, SUBSCRIPTION)])


class SubscriptionRow(msgspec.Struct, frozen=True):
    """A subscription as it is stored; its cursors and deliveries have rows of their own."""

    birth: str
    created_at: float
    configuration: SubscriptionConfiguration
    owner: OwnerRow

    def subscription(self, subscription_id: str) -> DurableSubscription:
        """Return the subscription of the row, without its cursors and deliveries."""
        return DurableSubscription(
            subscription_id,
            self.birth,
            self.created_at,
            self.configuration,
            restore_owner(self.owner),
        )


class LoadedSubscription(msgspec.Struct):
    """A subscription as it is read from its rows."""

    subscription: DurableSubscription | None = None
    delivery: DeliveryState | None = None
    cursors: dict[str, CursorRow] = {}

    def add_row(self, subscription_id: str, kind: str, path: str, body: bytes) -> None:
        """Add one of the rows. Raises NOT_JSON."""
        if kind == CURSOR:
            self.cursors[path] = msgspec.json.decode(body, type=CursorRow)
        elif kind == DELIVERY:
            self.delivery = msgspec.json.decode(body, type=DeliveryState)
        elif kind == SUBSCRIPTION:
            row = msgspec.json.decode(body, type=SubscriptionRow)
            self.subscription = row.subscription(subscription_id)


class SubscriptionRows:
    """The rows of a route's subscriptions. What is marked is written soon, and in one go."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._dirty: dict[str, Callable[[], bytes] | None] = {}
        self._waiter: asyncio.Future[None] | None = None  # of the flush that follows
        self._task: asyncio.Task[None] | None = None

    def mark(self, subscription: DurableSubscription) -> None:
        """Have the state of a subscription's deliveries written."""
        if subscription.phase != "removed":
            name = document_name(DELIVERY, subscription.id)
            self._put(name, lambda: msgspec.json.encode(subscription.delivery))

    def mark_link(self, link: StreamLink) -> None:
        """Have a link written, if a restart cannot derive it from the list of streams."""
        if link.subscription.phase == "removed":
            return
        name = document_name(CURSOR, link.subscription.id, link.stream.path)
        is_derived = not link.is_stored and not link.is_explicit
        self._put(name, None if is_derived else lambda: msgspec.json.encode(link.row))

    def mark_configuration(self, subscription: DurableSubscription) -> None:
        """Have the configuration and the owner written, behind all that is marked already."""
        row = SubscriptionRow(
            subscription.birth,
            subscription.created_at,
            subscription.configuration,
            owner_row(subscription.owner),
        )
        self._put(document_name(SUBSCRIPTION, subscription.id), lambda: msgspec.json.encode(row))

    def remove_link(self, link: StreamLink) -> None:
        """Have the row of a link removed."""
        self._put(document_name(CURSOR, link.subscription.id, link.stream.path), None)

    def remove(self, subscription: DurableSubscription) -> None:
        """Have a subscription's rows removed, its configuration first; links have their own."""
        self._put(document_name(SUBSCRIPTION, subscription.id), None)
        self._put(document_name(DELIVERY, subscription.id), None)

    def _put(self, name: str, body: Callable[[], bytes] | None) -> None:
        self._dirty.pop(name, None)  # the last that is marked is written last
        self._dirty[name] = body
        self._next_write()

    async def flush(self) -> None:
        """Wait until all that is marked is durable. Raises LogUnavailable.

        After a failure it stays marked.
        """
        await shielded(self._next_write())

    def _next_write(self) -> asyncio.Future[None]:
        """Return the future of a write that begins from now on."""
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        return self._waiter

    async def settle(self) -> None:
        """Write what is marked, as far as the log takes it."""
        if self._dirty or self._task is not None:
            with contextlib.suppress(HeadgateError):
                await self.flush()

    async def _write(self) -> None:
        try:
            while (waiter := self._waiter) is not None:
                self._waiter = None
                try:
                    await self._write_dirty()
                except Exception as error:  # noqa: BLE001 - the waiting calls get the error
                    if not isinstance(error, HeadgateError):
                        log.exception("subscription.not_stored")
                        error = LogUnavailable("the subscription could not be stored")
                    waiter.set_exception(error)
                    waiter.exception()  # no call may wait any more
                else:
                    waiter.set_result(None)
        finally:
            self._task = None

    async def _write_dirty(self) -> None:
        """Write what is marked now; what is marked meanwhile is left to the next write."""
        names = list(self._dirty)
        if not names:
            await self._documents.write({})  # the caller sends something: is it still ours?
        for start in range(0, len(names), AT_ONCE):
            dirty = [name for name in names[start : start + AT_ONCE] if name in self._dirty]
            part = {name: self._dirty.pop(name) for name in dirty}
            bodies = {name: None if body is None else body() for name, body in part.items()}
            try:
                await self._documents.write(bodies)
            except BaseException:
                self._dirty = {**part, **self._dirty}
                raise

    async def read(self) -> list[tuple[str, bytes]]:
        """Return the rows of all subscriptions as they are stored. Raises LogUnavailable."""
        rows: list[tuple[str, bytes]] = []
        while page := await self._documents.read(rows[-1][0] if rows else "", AT_ONCE):
            rows += page
        return rows

    def decode(
        self, rows: Sequence[tuple[str, bytes]]
    ) -> Generator[None, None, dict[str, LoadedSubscription]]:
        """Return the subscriptions in rows, by id, step by step."""
        found: dict[str, LoadedSubscription] = {}
        for name, body in rows:
            kind, subscription_id, path = parts_of(name)
            if kind not in KINDS:
                continue  # such as the keys
            try:
                loaded = found.setdefault(subscription_id, LoadedSubscription())
                loaded.add_row(subscription_id, kind, path, body)
            except NOT_JSON as error:
                log.error("log.document_damaged", document=name, reason=str(error))
            yield
        for subscription_id, loaded in found.items():
            if loaded.subscription is None:
                self._remove_rest(subscription_id, loaded)
            elif loaded.delivery is not None:
                loaded.subscription.delivery = loaded.delivery
        return {name: it for name, it in found.items() if it.subscription is not None}

    def _remove_rest(self, subscription_id: str, loaded: LoadedSubscription) -> None:
        """Remove the rows of a subscription whose creation or removal a crash has cut short."""
        self._put(document_name(DELIVERY, subscription_id), None)
        for path in loaded.cursors:
            self._put(document_name(CURSOR, subscription_id, path), None)
