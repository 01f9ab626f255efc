"""A subscription in memory: its configuration, its links to streams, and the state of its wakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from headgate_gateway.access.principal import account_of
from headgate_gateway.features.subscriptions.state.delivery_state import CursorRow, DeliveryState
from headgate_gateway.protocol.streams.state import StreamState

if TYPE_CHECKING:
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.features.subscriptions.state.configuration import (
        SubscriptionConfiguration,
    )
    from headgate_gateway.features.subscriptions.state.delivery_state import SnapshotEnd


class LinkedStream(msgspec.Struct, gc=False, eq=False):
    """A stream with its links; `state` is None while it does not exist.

    While it `is_pending_for_all` its subscriptions, more data begins no wake: each of them has a
    wake in flight, waits for a deadline, or is paused by an operator. `Membership` notes that once
    it has considered all of them. A new link, and the first of them that acknowledges everything,
    end it.

    The garbage collector skips streams and links, of which there may be many: their cycles are
    broken when a link is dropped.
    """

    path: str
    state: StreamState | None = None
    links: tuple[StreamLink, ...] = ()
    is_pending_for_all: bool = False

    def apply_state(self, state: StreamState) -> bool:
        """Apply the present state of the stream; return whether it may begin wakes."""
        adds_nothing = self.is_pending_for_all and _is_growth(self.state, state)
        self.state = state
        if adds_nothing:
            return False
        for link in self.links:
            link.apply_state(state)
        return True

    def add(self, link: StreamLink) -> None:
        """Add a link, for which nothing is pending so far."""
        self.links += (link,)
        self.is_pending_for_all = False

    def note_pending(self) -> None:
        """Note whether the stream is pending for all its subscriptions, and these are active."""
        self.is_pending_for_all = all(
            link.is_noted and link.subscription.phase == "active" for link in self.links
        )


class StreamLink(msgspec.Struct, gc=False, eq=False):
    """A link of a subscription to a stream, with its cursor in one incarnation of the stream.

    `stream_id` is that incarnation, and `position` what is acknowledged in it, perhaps also that it
    `is_closed`.
    """

    subscription: DurableSubscription
    stream: LinkedStream
    stream_id: int | None = None
    position: int = 0
    is_explicit: bool = False
    is_glob: bool = False
    is_closed: bool = False
    is_stored: bool = False
    is_noted: bool = False  # among the pending links of its subscription

    @property
    def is_pending(self) -> bool:
        """True if the stream has ended, or has data, beyond the cursor."""
        state = self.stream.state
        return state is not None and (
            state.tail > self.position or (state.closed and not self.is_closed)
        )

    def add_name(self, state: StreamState | None) -> None:
        """Link the stream by its name, too; with a `state`, the cursor is at its tail."""
        self.is_explicit = True
        if state is not None:
            self.stream.state = self.stream.state or state
            self.start_cursor(state, state.tail)
            self.acknowledge(state.tail, is_closed=state.closed)

    def start_cursor(self, state: StreamState, position: int | None = None) -> None:
        """Begin a cursor in the stream's present incarnation, by default at its beginning."""
        self.stream_id = state.stream_id
        self.position = state.beginning if position is None else position
        self.is_closed = False
        self.is_stored = False

    def acknowledge(self, position: int, *, is_closed: bool) -> None:
        """Move the cursor."""
        self.position = position
        self.is_closed = self.is_closed or is_closed
        self.is_stored = True

    def apply_state(self, state: StreamState) -> None:
        """Apply the present state of the stream, and note whether it is pending."""
        if self.stream_id != state.stream_id:
            self.start_cursor(state)
        else:
            self.limit(state.tail)
        self.subscription.note(self)

    def set_back(self, position: int) -> None:
        """Move the cursor back, before the end of a stream that is closed."""
        self.position = position
        self.is_closed = False
        self.is_stored = True

    def limit(self, tail: int) -> None:
        """Move the cursor back to the tail, if it is beyond: the log has lost what was there."""
        self.position = min(self.position, tail)

    def restore(self, row: CursorRow) -> None:
        """Take a stored cursor."""
        self.stream_id, self.position = row.stream_id, row.position
        self.is_closed, self.is_explicit = row.is_closed, row.is_explicit
        self.is_glob = not row.is_explicit
        self.is_stored = row.stream_id is not None

    @property
    def row(self) -> CursorRow:
        """The link as it is stored."""
        stream_id = self.stream_id if self.is_stored else None
        return CursorRow(stream_id, self.position, self.is_closed, self.is_explicit)


class DurableSubscription:
    """A subscription; `birth` tells it from another one with the same id.

    `membership` changes the links, and `wakes.transitions` the `delivery`, which it marks then, so
    that it is stored.
    """

    def __init__(
        self,
        subscription_id: str,
        birth: str,
        created_at: float,
        configuration: SubscriptionConfiguration,
        owner: Principal | None,
    ) -> None:
        self.id = subscription_id
        self.birth = birth
        self.created_at = created_at
        self.configuration = configuration
        self.owner = owner
        self.links: dict[str, StreamLink] = {}
        self.pending: dict[str, StreamLink] = {}
        self.delivery = DeliveryState()
        self.snapshot_ends: dict[str, SnapshotEnd] = {}  # as the present wake tells them
        self.phase: Literal["linking", "active", "removed"] = "linking"
        self.unlinked = 0  # streams that were not linked, as there are too many

    @property
    def account(self) -> str:
        """The account whose subscriptions are counted together; "" for anybody's."""
        return account_of(self.owner)

    @property
    def is_webhook(self) -> bool:
        """True if wakes are sent to a URL."""
        return self.configuration.webhook_url is not None

    @property
    def has_failed(self) -> bool:
        """True while an attempt waits behind one that failed, or streams are not linked.

        So it stays while a webhook is called again: a slow receiver may take most of the time.
        """
        delivery = self.delivery
        is_undelivered = delivery.wake is not None and delivery.wake.lease_until is None
        is_retried = delivery.failures > 0 and is_undelivered and self.is_webhook
        return delivery.next_attempt_at is not None or is_retried or self.unlinked > 0

    @property
    def is_paused(self) -> bool:
        """True while an operator wants no wakes of it."""
        return self.delivery.paused_at is not None

    @property
    def may_send(self) -> bool:
        """True while wakes may be sent: it is neither paused, removed nor new."""
        return self.phase == "active" and not self.is_paused

    @property
    def status(self) -> Literal["active", "failed", "paused"]:
        """The state that clients see; for operators, `metrics.status_of` has one more."""
        if self.is_paused:
            return "paused"
        return "failed" if self.has_failed else "active"

    @property
    def last_error(self) -> str | None:
        """The reason of the last failure, while the subscription has failed."""
        if self.unlinked:
            return "max_streams is reached: events of further streams wake nobody"
        return self.delivery.last_error

    def drop(self, path: str) -> None:
        """Drop the link to a stream, which leaves room for another one."""
        self.links.pop(path, None)
        self.forget_pending(path)
        self.unlinked = 0

    def note(self, link: StreamLink) -> None:
        """Note whether a stream is pending."""
        if not link.is_pending:
            self.forget_pending(link.stream.path)
        elif not link.is_noted:
            self.pending[link.stream.path] = link
            link.is_noted = True

    def forget_pending(self, path: str) -> None:
        """Note that a stream is not pending."""
        link = self.pending.pop(path, None)
        if link is not None:
            link.is_noted = link.stream.is_pending_for_all = False
        if not self.pending and self.phase == "active":
            self.delivery.waiting_since = None


def _is_growth(earlier: StreamState | None, later: StreamState) -> bool:
    """Return whether a stream is the same as before, and has lost nothing at its end."""
    return (
        earlier is not None
        and earlier.stream_id == later.stream_id
        and earlier.tail <= later.tail
        and earlier.closed <= later.closed
    )
