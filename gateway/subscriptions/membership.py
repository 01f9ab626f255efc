"""The streams of all subscriptions, found by patterns and links at the cost of what matches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.subscriptions.state.patterns import PatternIndex
from gateway.subscriptions.state.subscription import MOST_REMOVED, LinkedStream, StreamLink

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from gateway.subscriptions.state.subscription import DurableSubscription
    from gateway.subscriptions.streams.contract import Position, StreamChange, StreamView

MOST_UNLINKED = 100_000  # names that are known to match nothing, about 150 bytes each


class Membership:
    """The links of a route's subscriptions, and the states of the linked streams."""

    def __init__(
        self,
        most_streams: Callable[[], int],
        forget: Callable[[StreamLink], None],
        consider: Callable[[DurableSubscription], object],
    ) -> None:
        """Link a subscription to `most_streams` at most, as these are at the time.

        `forget` drops the row of a link; `consider` wakes a subscription if it is pending.
        """
        self._most_streams = most_streams
        self._forget = forget
        self._consider = consider
        # Subscriptions some of whose streams were not linked, and are tried at their next change.
        self._without_room: set[DurableSubscription] = set()
        self.refused = 0  # links to streams that were created or appended to
        self._patterns: PatternIndex[DurableSubscription] = PatternIndex()
        self.streams: dict[str, LinkedStream] = {}
        self._unlinked: set[str] = set()
        self.times_forgotten = 0  # that the names of unlinked streams were too many
        # Ids of streams that were removed while streams are being listed, else None.
        self._removed: set[int] | None = None

    def subscriptions_of(self, path: str) -> list[DurableSubscription]:
        """Return the subscriptions that are linked to a stream, or would be."""
        stream = self.streams.get(path)
        linked = [] if stream is None else [link.subscription for link in stream.links]
        return list(dict.fromkeys([*linked, *self._patterns.match(path)]))

    def add(self, subscription: DurableSubscription) -> None:
        """Link a subscription to streams that are created or appended to from now on."""
        self._unlinked.clear()
        if (pattern := subscription.configuration.parsed_pattern) is not None:
            self._patterns.add(pattern, subscription)

    def removal_steps(self, subscription: DurableSubscription) -> Generator[None, None, None]:
        """Remove a subscription, and then its links and their rows, step by step."""
        if (pattern := subscription.configuration.parsed_pattern) is not None:
            self._patterns.remove(pattern, subscription)
        self._without_room.discard(subscription)
        for link in [*subscription.links.values(), *subscription.removed.values()]:
            self._forget(link)
            self.drop(link)
            yield
        subscription.removed.clear()

    def watch_removals(self) -> None:
        """Note the streams that are removed, while a list of streams is read."""
        self._removed = set()

    def end_watching(self) -> None:
        """Stop noting removed streams."""
        self._removed = None

    def link(self, subscription: DurableSubscription, path: str) -> StreamLink:
        """Return the link to a stream, made if it is not there; it has no cursor yet."""
        link = subscription.links.get(path)
        if link is not None:
            return link
        link = subscription.removed.pop(path, None)
        if link is None:
            stream = self.streams.get(path)
            if stream is None:
                stream = self.streams[path] = LinkedStream(path)
                self._unlinked.discard(path)
            link = StreamLink(subscription, stream)
            stream.add(link)
        link.is_remembered = False
        subscription.links[path] = link
        return link

    def drop(self, link: StreamLink) -> None:
        """Remove a link."""
        path = link.stream.path
        link.subscription.links.pop(path, None)
        link.subscription.forget_pending(path)
        link.subscription.note_room()
        self._detach(link)

    def _detach(self, link: StreamLink) -> None:
        stream = link.stream
        stream.links = tuple(it for it in stream.links if it is not link)
        if not stream.links:
            self.streams.pop(stream.path, None)

    def find_unlinked(self, path: str) -> list[DurableSubscription]:
        """Return the subscriptions whose pattern matches a stream that they are not linked to.

        Those that must not be linked to it are left out.
        """
        if path in self._unlinked:
            return []
        matching = self._patterns.match(path)
        if not matching and path not in self.streams:
            self._note_unlinked(path)
        most = self._most_streams()
        return [it for it in matching if not _is_linked(it, path) and _may_link(it, path, most)]

    def concerns(self, path: str) -> bool:
        """Return whether a stream is linked, or would be if there were room."""
        if path in self.streams:
            return True
        if path not in self._unlinked and self._patterns.match(path):
            return True
        self._note_unlinked(path)
        return False

    def state_of(self, path: str) -> StreamView | None:
        """Return the state of a linked stream; None for others."""
        stream = self.streams.get(path)
        return None if stream is None else stream.state

    def find_candidates(self, state: StreamView) -> list[DurableSubscription]:
        """Take the state of a stream that a list has; return what matches and has no cursor yet.

        A removed stream, and a state that is older than the known one, are left out. Whoever had
        the stream before is woken: a report of a version that is known already wakes nobody.
        """
        if state.soft_deleted or (self._removed and state.stream_id in self._removed):
            return []
        matching = self._patterns.match(state.path)
        stream = self.streams.get(state.path)
        if stream is None:
            most = self._most_streams()
            if not any(_may_link(it, state.path, most) for it in matching):
                return matching  # whose refusals are counted
            stream = self.streams[state.path] = LinkedStream(state.path)
        known = stream.state
        is_later = known is None or (known.is_along(state) and known.version < state.version)
        if is_later and _take(stream, state):
            self._consider_all(stream)
        return [it for it in matching if not _is_linked(it, stream.path)]

    def match(
        self, subscription: DurableSubscription, path: str, position: Position | None
    ) -> StreamLink | None:
        """Link a stream that the pattern matches, and that exists; return None if it must not be.

        A stream that has no cursor so far gets one at `position`, by default at its beginning.
        """
        if not _may_link(subscription, path, self._most_streams()):
            if subscription.configuration.wake_stream != path:
                subscription.note_unlinked()
                self._without_room.add(subscription)
                self.refused += subscription.phase == "active"
            return None
        link = self.link(subscription, path)
        link.is_glob = True
        state = link.stream.state
        if state is not None and link.stream_id != state.stream_id:
            link.start_cursor(state, position)
        subscription.note(link)
        return link

    def on_change(self, change: StreamChange) -> Sequence[StreamLink]:
        """Apply a committed change, and wake whom it concerns; return the links that it concerns.

        More data concerns nobody while the stream is pending for all.
        """
        state = change.state
        stream = self.streams.get(state.path)
        if change.removes or state.soft_deleted:
            self._remove_stream(stream, state.stream_id)
            return ()
        if stream is None and state.path in self._unlinked:
            return ()
        is_new = change.expected is None or stream is None or stream.state is None
        may_match = is_new or self._without_room
        matching = self._patterns.match(state.path) if may_match else ()
        if stream is None:
            if not matching:
                self._note_unlinked(state.path)
                return ()
            stream = self.streams[state.path] = LinkedStream(state.path)
        may_wake = _take(stream, state)
        for subscription in matching:
            self._match_changed(subscription, change)
        if not stream.links:
            self.streams.pop(stream.path, None)
        if not (may_wake or matching):
            return ()
        self._consider_all(stream)
        return stream.links

    def _match_changed(self, subscription: DurableSubscription, change: StreamChange) -> None:
        path = change.state.path
        is_linked = path in subscription.links
        if subscription.phase == "linking" and self._removed is not None and not is_linked:
            link = self.match(subscription, path, _start(change))
            _skip_what_was_there(link, change)
        else:
            self.match(subscription, path, None)

    def _consider_all(self, stream: LinkedStream) -> None:
        """Wake whoever has the stream pending, and note whether more data can wake anybody."""
        for link in stream.links:
            self._consider(link.subscription)
        stream.note_pending()

    def _note_unlinked(self, path: str) -> None:
        if len(self._unlinked) >= MOST_UNLINKED:
            self._unlinked.clear()
            self.times_forgotten += 1
        self._unlinked.add(path)

    def _remove_stream(self, stream: LinkedStream | None, stream_id: int) -> None:
        """Keep the links to a removed stream that are explicit, and some others for a while."""
        if self._removed is not None:
            self._removed.add(stream_id)
        if stream is None:
            return
        stream.state = None
        for link in stream.links:
            subscription = link.subscription
            subscription.forget_pending(stream.path)
            if link.is_explicit:
                link.is_glob = False  # the pattern matches it again once it is created
                continue
            subscription.note_room()
            if link.is_stored or link.is_recreated:
                self.remember_removed(link)
            else:
                self.drop(link)

    def remember_removed(self, link: StreamLink) -> None:
        """Keep the link to a removed stream, until later ones take its place."""
        subscription, path = link.subscription, link.stream.path
        subscription.links.pop(path, None)
        subscription.removed[path] = link
        link.is_remembered = True
        while len(subscription.removed) > MOST_REMOVED:
            _, oldest = subscription.removed.popitem(last=False)
            self._detach(oldest)
            self._forget(oldest)


def _take(stream: LinkedStream, state: StreamView) -> bool:
    """Take the present state of a stream; return whether it may begin wakes."""
    adds_nothing = stream.is_pending_for_all and _is_growth(stream.state, state)
    stream.note_state(state)
    if adds_nothing:
        return False
    for link in stream.links:
        if link.is_remembered:
            continue  # the pattern matches it again first
        if link.stream_id != state.stream_id:
            link.start_cursor(state)
        else:
            link.limit(state.tail)
        link.subscription.note(link)
    return True


def _is_growth(earlier: StreamView | None, later: StreamView) -> bool:
    """Return whether a stream is the same as before, and has lost nothing at its end."""
    return (
        earlier is not None
        and earlier.stream_id == later.stream_id
        and earlier.tail <= later.tail
        and earlier.closed <= later.closed
    )


def _may_link(subscription: DurableSubscription, path: str, most_streams: int) -> bool:
    has_room = path in subscription.links or len(subscription.links) < most_streams
    return subscription.configuration.wake_stream != path and has_room


def _is_linked(subscription: DurableSubscription, path: str) -> bool:
    link = subscription.links.get(path)
    return link is not None and link.is_glob


def _skip_what_was_there(link: StreamLink | None, change: StreamChange) -> None:
    """Acknowledge what a stream had when it was linked beside those that a list has.

    It may have been there before the subscription, as reports of other gateways come late. What is
    acknowledged is stored.
    """
    was_closed = change.state.closed and not change.records
    if link is not None and (link.position > change.state.beginning or was_closed):
        link.acknowledge(link.position, is_closed=was_closed)
        link.subscription.note(link)


def _start(change: StreamChange) -> Position:
    """Return the position of a stream's tail before a change."""
    return (
        change.records[0].end - len(change.records[0].data) if change.records else change.state.tail
    )
