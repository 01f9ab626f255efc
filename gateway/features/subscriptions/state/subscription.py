"""A subscription in memory: its configuration, its links to streams, and the state of its wakes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from gateway.features.subscriptions.state.delivery_state import (
    CursorRow,
    DeliveryState,
    EventNumbering,
    EventPosition,
)
from gateway.features.subscriptions.streams import Position, StreamView, is_growth

if TYPE_CHECKING:
    from gateway.features.subscriptions.state.configuration import SubscriptionConfiguration
    from gateway.features.subscriptions.state.delivery_state import RenewalState, SnapshotEnd
    from gateway.features.subscriptions.state.owners import SubscriptionOwner

# Removed streams of a subscription whose cursors are remembered, so that a wake can say that such a
# stream was created again.
MOST_REMOVED = 1_000


class UnseenStream(NamedTuple):
    """A linked stream of an origin whose tail is unknown since the start.

    `view` is what a stored cursor tells of it, None where nothing is acknowledged. It counts as
    pending until a worker has acknowledged that it found nothing.
    """

    view: StreamView | None
    is_pending: bool = True


class LinkedStream(msgspec.Struct, gc=False, eq=False):
    """A stream with its links; `state` is None while it does not exist.

    While it `is_pending_for_all` its subscriptions, more data begins no wake: each of them has a
    wake in flight, waits for a deadline, or is paused by an operator. `Membership` notes that once
    it has considered all of them. A new link, and the first of them that acknowledges everything,
    end it. It `was_deleted` if a client has deleted it, and it has not been seen since. It
    `is_unmatched` while patterns may match it whose subscriptions are not linked yet.

    The garbage collector skips streams and links, of which there may be many: their cycles are
    broken when a link is dropped.
    """

    path: str
    state: StreamView | None = None
    links: tuple[StreamLink, ...] = ()
    is_pending_for_all: bool = False
    was_deleted: bool = False
    is_unmatched: bool = False

    def note_state(self, state: StreamView) -> None:
        """Note the present state of the stream, which is there."""
        self.state, self.was_deleted = state, False

    def apply_state(self, state: StreamView) -> bool:
        """Apply the present state of the stream; return whether it may begin wakes."""
        adds_nothing = self.is_pending_for_all and is_growth(self.state, state)
        self.note_state(state)
        if adds_nothing:
            return False
        for link in self.links:
            if not link.is_remembered:  # else the pattern matches it again first
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
    `is_closed`. The first `messages` behind it were sent to a host of MCP. Where needed, its
    events have a `numbering`.
    """

    subscription: DurableSubscription
    stream: LinkedStream
    stream_id: int | None = None
    position: Position = 0
    messages: int = 0
    numbering: EventNumbering | None = None
    is_explicit: bool = False
    is_glob: bool = False
    is_closed: bool = False
    is_stored: bool = False
    is_recreated: bool = False
    is_remembered: bool = False  # of a removed stream, and no link at present
    is_noted: bool = False  # among the pending links of its subscription

    @property
    def is_pending(self) -> bool:
        """True if the stream has ended, or has data, beyond the cursor."""
        state = self.stream.state
        return state is not None and (
            state.tail > self.position or (state.closed and not self.is_closed)
        )

    @property
    def view(self) -> StreamView | None:
        """The stream, as a stored cursor tells it until its tail is known."""
        state = self.stream.state
        if state is None and (unseen := self.subscription.unseen.get(self.stream.path)):
            return unseen.view
        return state

    @property
    def may_be_pending(self) -> bool:
        """True if something is pending, or may be: the tail is not known yet."""
        unseen = self.subscription.unseen.get(self.stream.path)
        return self.is_pending or (unseen is not None and unseen.is_pending)

    def add_name(self, state: StreamView | None) -> None:
        """Link the stream by its name, too; with a `state`, the cursor is at its tail."""
        self.is_explicit = True
        if state is not None:
            self.stream.state = self.stream.state or state
            self.start_cursor(state, state.tail)
            self.acknowledge(state.tail, is_closed=state.closed)

    def start_cursor(self, state: StreamView, position: Position | None = None) -> None:
        """Begin a cursor in the stream's present incarnation, by default at its beginning."""
        self.is_recreated = self.is_recreated or self.is_stored
        numbering = self.numbering if self.stream_id is None else None
        self.stream_id = state.stream_id
        self._move(state.beginning if position is None else position)
        self.numbering = numbering
        self.is_closed = False
        self.is_stored = False

    def acknowledge(self, position: Position, *, is_closed: bool) -> None:
        """Move the cursor."""
        self._move(position)
        self.is_closed = self.is_closed or is_closed
        self.is_recreated = False
        self.is_stored = True

    def apply_state(self, state: StreamView) -> None:
        """Apply the present state of the stream, and note whether it is pending."""
        if self.stream_id != state.stream_id:
            self.start_cursor(state)
        else:
            self.limit(state.tail)
        self.subscription.note(self)

    def set_back(self, position: Position) -> None:
        """Move the cursor back, before the end of a stream that is closed."""
        self._move(position)
        self.is_closed = False
        self.is_stored = True

    def start_at(self, at: EventPosition) -> None:
        """Begin at a position that a host of MCP has reached before."""
        self.acknowledge(at.position, is_closed=False)
        self.messages, self.is_closed, self.numbering = at.messages, at.is_closed, at.numbering

    def limit(self, tail: Position) -> None:
        """Move the cursor back to the tail, if it is beyond: the log has lost what was there."""
        if self.position > tail:
            self._move(tail)

    def _move(self, position: Position) -> None:
        self.position, self.messages, self.numbering = position, 0, None

    def restore(self, row: CursorRow) -> None:
        """Take a stored cursor."""
        self.stream_id, self.position = row.stream_id, row.position
        self.is_closed, self.is_explicit = row.is_closed, row.is_explicit
        self.is_glob = not row.is_explicit
        self.is_stored = row.stream_id is not None
        self.numbering = row.numbering
        self.messages = row.messages if self.is_stored else 0

    @property
    def accepted_position(self) -> EventPosition:
        """The position behind all that was accepted."""
        return EventPosition(self.position, self.messages, self.is_closed, self.numbering)

    @property
    def row(self) -> CursorRow:
        """The link as it is stored."""
        stream_id = self.stream_id if self.is_stored else None
        at = self.accepted_position
        return CursorRow(
            stream_id, at.position, at.is_closed, self.is_explicit, at.numbering, at.messages
        )


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
        owner: SubscriptionOwner,
        events: RenewalState | None = None,
    ) -> None:
        """`events` is there for a host of MCP, which gets events in place of wakes."""
        self.id = subscription_id
        self.birth = birth
        self.created_at = created_at
        self.configuration = configuration
        self.owner = owner
        self.events = events
        self.links: dict[str, StreamLink] = {}
        self.pending: dict[str, StreamLink] = {}
        self.unseen: dict[str, UnseenStream] = {}
        # Links of a pattern to streams that were removed, the oldest first.
        self.removed: OrderedDict[str, StreamLink] = OrderedDict()
        self.delivery = DeliveryState()
        self.snapshot_ends: dict[str, SnapshotEnd] = {}  # as the present wake tells them
        self.phase: Literal["linking", "active", "removed"] = "linking"
        self.unlinked = 0  # streams that were not linked, as there are too many

    @property
    def may_have_work(self) -> bool:
        """True if a stream is pending, or may be."""
        return bool(self.pending) or any(it.is_pending for it in self.unseen.values())

    @property
    def is_webhook(self) -> bool:
        """True if wakes, or events, are sent to a URL."""
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
        """True while wakes or events may be sent: it is neither paused, removed nor new."""
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

    def renew(self, owner: SubscriptionOwner, events: RenewalState | None) -> None:
        """Replace who has the subscription, and what a host of MCP has renewed."""
        self.owner, self.events = owner, events

    def note_seen(self, path: str) -> None:
        """Note that the tail of a stream is known, or that there is none."""
        self.unseen.pop(path, None)

    def note(self, link: StreamLink) -> None:
        """Note whether a stream is pending."""
        if self.unseen and link.stream.state is not None:
            self.note_seen(link.stream.path)
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
