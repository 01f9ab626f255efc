"""The streams of all subscriptions, found by patterns and links at the cost of what matches."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from headgate_gateway.features.subscriptions.state.patterns import PatternIndex, UnlinkedNames
from headgate_gateway.features.subscriptions.state.subscription import LinkedStream, StreamLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription
    from headgate_gateway.protocol.streams.state import Change, StreamState


MOST_STREAMS = 100_000  # of one subscription: 40 MB in memory, and 10 MB in the log


class Membership:
    """The links of a route's subscriptions, and the states of the linked streams."""

    def __init__(
        self,
        forget: Callable[[StreamLink], None],
        consider: Callable[[DurableSubscription], object],
    ) -> None:
        """`forget` drops the row of a link; `consider` wakes a subscription if it is pending."""
        self._forget = forget
        self._consider = consider
        # Subscriptions some of whose streams were not linked, and are tried at their next change.
        self._without_room: set[DurableSubscription] = set()
        self.refused = 0  # links to streams that were created or appended to
        self.patterns: PatternIndex[DurableSubscription] = PatternIndex()
        self.streams: dict[str, LinkedStream] = {}
        self._unlinked = UnlinkedNames()
        # Ids of streams that were removed while streams are being listed, else None.
        self._removed: set[int] | None = None
        self._created: DurableSubscription | None = None

    def subscriptions_of(self, path: str) -> dict[DurableSubscription, None]:
        """Return the subscriptions that are linked to a stream, or would be."""
        stream = self.streams.get(path)
        linked = [] if stream is None else [link.subscription for link in stream.links]
        return dict.fromkeys([*linked, *self.patterns.match(path)])

    def add(self, subscription: DurableSubscription) -> None:
        """Link a subscription to streams that are created or appended to from now on."""
        self._unlinked.clear()
        if (pattern := subscription.configuration.parsed_pattern) is not None:
            self.patterns.add(pattern, subscription)

    def remove(self, subscription: DurableSubscription) -> None:
        """Remove a subscription with its links and their rows."""
        if (pattern := subscription.configuration.parsed_pattern) is not None:
            self.patterns.remove(pattern, subscription)
        self._without_room.discard(subscription)
        for link in list(subscription.links.values()):
            self.drop(link)

    @contextlib.contextmanager
    def watching_removals(self, created: DurableSubscription | None = None) -> Iterator[None]:
        """Note the streams that are removed, while a list of streams is read.

        A subscription that is being `created` has nothing pending of what was there before it.
        """
        self._removed, self._created = set(), created
        try:
            yield
        finally:
            self._removed = self._created = None

    def link(self, subscription: DurableSubscription, path: str) -> StreamLink:
        """Return the link to a stream, made if it is not there; it has no cursor yet."""
        link = subscription.links.get(path)
        if link is None:
            stream = self.streams.get(path)
            if stream is None:
                stream = self.streams[path] = LinkedStream(path)
                self._unlinked.discard(path)
            link = subscription.links[path] = StreamLink(subscription, stream)
            stream.add(link)
        return link

    def drop(self, link: StreamLink) -> None:
        """Remove a link with its row."""
        self._release(link)
        self._set_links(link.stream, tuple(it for it in link.stream.links if it is not link))

    def _release(self, link: StreamLink) -> None:
        if link.is_stored or link.is_explicit:  # others have no row
            self._forget(link)
        link.subscription.drop(link.stream.path)

    def _set_links(self, stream: LinkedStream, links: tuple[StreamLink, ...]) -> None:
        stream.links = links
        if not links:
            self.streams.pop(stream.path, None)

    def concerns(self, path: str) -> bool:
        """Return whether a stream is linked, or would be if there were room."""
        if path in self.streams or (path not in self._unlinked and self.patterns.match(path)):
            return True
        self._unlinked.add(path)
        return False

    def state_of(self, path: str) -> StreamState | None:
        """Return the state of a linked stream; None for others."""
        stream = self.streams.get(path)
        return None if stream is None else stream.state

    def find_candidates(self, state: StreamState) -> Sequence[DurableSubscription]:
        """Take the state of a stream that a list has; return what matches and has no cursor yet.

        A removed stream, and a state that is older than the known one, are left out. Subscriptions
        that are linked already are woken here: a later report of the same version wakes none.
        """
        if state.soft_deleted or (self._removed and state.stream_id in self._removed):
            return ()
        stream = self.streams.get(state.path)
        known = None if stream is None else stream.state
        is_later = known is None or (known.is_along(state) and known.version < state.version)
        if stream is not None and is_later and stream.apply_state(state):
            self._consider_all(stream)
        return [it for it in self.patterns.match(state.path) if not _is_linked(it, state.path)]

    def match(
        self, subscription: DurableSubscription, state: StreamState, position: int | None
    ) -> StreamLink | None:
        """Link a stream that the pattern matches; return None if it must not be.

        A stream that has no cursor so far gets one at `position`, by default at its beginning.
        """
        path = state.path
        if not _has_room(subscription, path):
            if subscription.configuration.wake_stream != path:
                subscription.unlinked += 1
                self._without_room.add(subscription)
                self.refused += subscription.phase == "active"
            return None
        link = self.link(subscription, path)
        link.is_glob = True
        stream = link.stream
        if stream.state is None:
            stream.state = state
        if link.stream_id != stream.state.stream_id:
            link.start_cursor(stream.state, position)
        subscription.note(link)
        return link

    def match_all(self, subscriptions: Sequence[DurableSubscription], state: StreamState) -> None:
        """Link a stream of a list to subscriptions whose pattern matches it, and wake them."""
        for subscription in subscriptions:
            self.match(subscription, state, None)
            self._consider(subscription)

    def on_change(self, change: Change) -> Sequence[StreamLink]:
        """Apply a committed change, and wake whom it concerns; return the links that it concerns.

        More data changes nothing while the stream is pending for all.
        """
        state = change.state
        stream = self.streams.get(state.path)
        if change.removes or state.soft_deleted:
            self._remove_stream(stream, state.stream_id)
            return ()
        matching = self._newly_matching(stream, change)
        may_wake = stream is not None and stream.apply_state(state)
        for subscription in matching:
            self._match_changed(subscription, change)
        stream = self.streams.get(state.path)
        if stream is None or not (may_wake or matching):
            return ()
        self._consider_all(stream)
        return stream.links

    def _newly_matching(
        self, stream: LinkedStream | None, change: Change
    ) -> Sequence[DurableSubscription]:
        """Return the subscriptions that may have to be linked to a changed stream."""
        path = change.state.path
        is_new = change.expected is None or stream is None or stream.state is None
        if not (is_new or self._without_room):
            return ()
        if stream is None and path in self._unlinked:
            return ()
        matching = self.patterns.match(path)
        if stream is None and not matching:
            self._unlinked.add(path)
        return matching

    def _match_changed(self, subscription: DurableSubscription, change: Change) -> None:
        """Link a changed stream to a subscription, which may be the one that is being created."""
        state = change.state
        if subscription is not self._created or state.path in subscription.links:
            self.match(subscription, state, None)
            return
        records = change.records
        tail = records[0].end - len(records[0].data) if records else state.tail
        link = self.match(subscription, state, tail)
        # It may have been there before the subscription, as reports of other gateways come late.
        was_closed = state.closed and not records
        if link is not None and (link.position > state.beginning or was_closed):
            link.acknowledge(link.position, is_closed=was_closed)
            subscription.note(link)

    def _consider_all(self, stream: LinkedStream) -> None:
        """Wake the subscriptions that have the stream pending; note whether more data can."""
        for link in stream.links:
            self._consider(link.subscription)
        stream.note_pending()

    def _remove_stream(self, stream: LinkedStream | None, stream_id: int) -> None:
        """Drop the links to a removed stream, except explicit ones."""
        if self._removed is not None:
            self._removed.add(stream_id)
        if stream is None:
            return
        stream.state = None
        for link in stream.links:
            subscription = link.subscription
            if link.is_explicit:
                link.is_glob = False  # the pattern matches it again once it is created
                subscription.forget_pending(stream.path)
            else:
                self._release(link)
        self._set_links(stream, tuple(link for link in stream.links if link.is_explicit))


def _has_room(subscription: DurableSubscription, path: str) -> bool:
    has_room = path in subscription.links or len(subscription.links) < MOST_STREAMS
    return subscription.configuration.wake_stream != path and has_room


def _is_linked(subscription: DurableSubscription, path: str) -> bool:
    link = subscription.links.get(path)
    return link is not None and link.is_glob
