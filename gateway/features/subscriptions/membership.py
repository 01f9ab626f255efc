"""The streams of all subscriptions, found by patterns and links at the cost of what matches."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.background import at_most
from gateway.features.subscriptions.late_changes import LateChanges
from gateway.features.subscriptions.state.patterns import PatternIndex, UnlinkedNames
from gateway.features.subscriptions.state.subscription import MOST_REMOVED, LinkedStream, StreamLink
from gateway.features.subscriptions.streams import is_growth, tail_before

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from gateway.background import Turns
    from gateway.features.subscriptions.state.subscription import DurableSubscription
    from gateway.features.subscriptions.streams import Position, StreamChange, StreamView

MOST_AT_ONCE = 200  # subscriptions that a change concerns at once; each may take 50 us
QUICK_STEPS = 5  # of a match at once: 160 patterns take 1 ms


class Membership:
    """The links of a route's subscriptions, and the states of the linked streams."""

    def __init__(
        self,
        most_streams: Callable[[], int],
        forget: Callable[[StreamLink], None],
        consider: Callable[[DurableSubscription], object],
        turns: Turns,
        *,
        is_listed: bool,
    ) -> None:
        """Link a subscription to `most_streams` at most, as these are at the time.

        `forget` drops the row of a link; `consider` wakes a subscription if it is pending. Changes
        that take long are handled in `turns`, unless they make links that have to be stored.
        """
        self.late = LateChanges(turns, self._late_steps)
        self.is_listed = is_listed
        self._most_streams = most_streams
        self._forget = forget
        self._consider = consider
        # Subscriptions some of whose streams were not linked, and are tried at their next change.
        self._without_room: set[DurableSubscription] = set()
        self.refused = 0  # links to streams that were created or appended to
        self.patterns: PatternIndex[DurableSubscription] = PatternIndex()
        self._additions = 0  # of patterns
        self.streams: dict[str, LinkedStream] = {}
        self.unlinked = UnlinkedNames()
        # Ids of streams that were removed while streams are being listed, else None.
        self._removed: set[int] | None = None
        self._created: DurableSubscription | None = None

    def subscriptions_of(self, path: str) -> Generator[None, None, dict[DurableSubscription, None]]:
        """Return the subscriptions that are linked to a stream, or would be, step by step."""
        matching = yield from self.patterns.match_steps(path)
        stream = self.streams.get(path)
        linked = [] if stream is None else [link.subscription for link in stream.links]
        return dict.fromkeys([*linked, *matching])

    def add(self, subscription: DurableSubscription) -> None:
        """Link a subscription to streams that are created or appended to from now on."""
        self.unlinked.clear()
        self._additions += 1
        if (pattern := subscription.configuration.parsed_pattern) is not None:
            self.patterns.add(pattern, subscription)

    def removal_steps(self, subscription: DurableSubscription) -> Generator[None, None, None]:
        """Remove a subscription, and then its links and their rows, step by step."""
        if (pattern := subscription.configuration.parsed_pattern) is not None:
            self.patterns.remove(pattern, subscription)
        self._without_room.discard(subscription)
        for link in [*subscription.links.values(), *subscription.removed.values()]:
            self._forget(link)
            self.drop(link)
            yield
        subscription.removed.clear()

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
        if link is not None:
            return link
        link = subscription.removed.pop(path, None)
        if link is None:
            stream = self.streams.get(path)
            if stream is None:
                stream = self.streams[path] = LinkedStream(path)
                self.unlinked.discard(path)
            link = StreamLink(subscription, stream)
            stream.add(link)
        link.is_remembered = False
        subscription.links[path] = link
        return link

    def drop(self, link: StreamLink) -> None:
        """Remove a link."""
        path = link.stream.path
        link.subscription.links.pop(path, None)
        link.subscription.note_seen(path)
        link.subscription.forget_pending(path)
        link.subscription.unlinked = 0
        self._detach(link)

    def _detach(self, link: StreamLink) -> None:
        stream = link.stream
        stream.links = tuple(it for it in stream.links if it is not link)
        if not stream.links:
            _forget_unlinked(self, stream)

    def find_unlinked(self, path: str) -> list[DurableSubscription]:
        """Return the subscriptions whose pattern matches a stream that they are not linked to.

        Those that must not be linked to it are left out.
        """
        if path in self.unlinked:
            return []
        matching = self.patterns.match(path)
        if not matching and path not in self.streams:
            self.unlinked.add(path)
        most = self._most_streams()
        return [it for it in matching if not _is_linked(it, path) and _may_link(it, path, most)]

    def concerns(self, path: str) -> bool:
        """Return whether a stream is linked, or would be if there were room."""
        if path in self.streams or (path not in self.unlinked and self.patterns.match(path)):
            return True
        self.unlinked.add(path)
        return False

    def state_of(self, path: str) -> StreamView | None:
        """Return the state of a linked stream; None for others."""
        stream = self.streams.get(path)
        return None if stream is None else stream.state

    def find_candidates(
        self, state: StreamView, matching: Sequence[DurableSubscription]
    ) -> Sequence[DurableSubscription]:
        """Take the state of a stream that a list has; return what matches and has no cursor yet.

        A removed stream, and a state that is older than the known one, are left out. Subscriptions
        that are linked already are woken here: a later report of the same version wakes none.
        """
        if state.soft_deleted or (self._removed and state.stream_id in self._removed):
            return ()
        stream = self.streams.get(state.path)
        if stream is None:
            most = self._most_streams()
            if not any(_may_link(it, state.path, most) for it in matching):
                return matching  # whose refusals are counted
            stream = self.streams[state.path] = LinkedStream(state.path)
        known = stream.state
        is_later = known is None or (known.is_along(state) and known.version < state.version)
        if is_later and len(stream.links) > MOST_AT_ONCE and _may_wait(self, stream, state, None):
            self._take_late(stream, state)
        elif is_later and stream.apply_state(state):
            _consider_all(stream, self._consider)
        return [it for it in matching if not _is_linked(it, stream.path)]

    def match(
        self, subscription: DurableSubscription, path: str, position: Position | None
    ) -> StreamLink | None:
        """Link a stream that the pattern matches, and that exists; return None if it must not be.

        A stream that has no cursor so far gets one at `position`, by default at its beginning.
        """
        if not _may_link(subscription, path, self._most_streams()):
            if subscription.configuration.wake_stream != path:
                subscription.unlinked += 1
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

    def matches(
        self, subscriptions: Sequence[DurableSubscription], path: str
    ) -> Generator[None, None, None]:
        """Link a stream that exists to subscriptions whose pattern matches it, step by step."""
        for subscription in subscriptions:
            stream = self.streams.get(path)
            if stream is None or stream.state is None:
                return  # it was removed meanwhile
            is_new = subscription.phase != "removed" and not _is_linked(subscription, path)
            if is_new and subscription is not self._created:  # which a change or a list links
                self.match(subscription, path, None)
                self._consider(subscription)
            yield

    def on_change(self, change: StreamChange) -> Sequence[StreamLink]:
        """Apply a committed change, and wake whom it concerns; return the links that it concerns.

        More data changes nothing while the stream is pending for all.
        """
        state = change.state
        stream = self.streams.get(state.path)
        if change.removes or state.soft_deleted:
            self._remove_stream(stream, state.stream_id)
            return ()
        matching = self._newly_matching(stream, change)
        if stream is None:
            if matching is not None and not matching:
                self.unlinked.add(state.path)
                return ()
            stream = self.streams[state.path] = LinkedStream(state.path)
        is_long = matching is None or len(matching) + len(stream.links) > MOST_AT_ONCE
        if is_long and _may_wait(self, stream, state, matching):
            stream.is_unmatched = stream.is_unmatched or matching is None or bool(matching)
            self._take_late(stream, state)
            return _link_created(self, change, self._created)
        may_wake = stream.apply_state(state)
        for subscription in matching or ():
            _match_changed(self, subscription, change, is_created=subscription is self._created)
        if not stream.links:
            _forget_unlinked(self, stream)
        if not (may_wake or matching):
            return ()
        _consider_all(stream, self._consider)
        return stream.links

    def _newly_matching(
        self, stream: LinkedStream | None, change: StreamChange
    ) -> Sequence[DurableSubscription] | None:
        """Return the subscriptions that may have to be linked; None if finding them takes turns."""
        if stream is None and change.state.path in self.unlinked:
            return ()
        is_new = change.expected is None or stream is None or stream.state is None
        if not (is_new or self._without_room):
            return ()
        steps = self.patterns.match_steps(change.state.path)
        return at_most(QUICK_STEPS if self.is_listed else None, steps)

    def _take_late(self, stream: LinkedStream, state: StreamView) -> None:
        """Have the state of a stream handled in turns, as it is then."""
        adds_nothing = stream.is_pending_for_all and is_growth(stream.state, state)
        stream.note_state(state)
        if stream.is_unmatched or not adds_nothing:
            self.late.add(stream.path)

    def _late_steps(self, path: str) -> Generator[None, None, bool]:
        """Link a stream, and take its state for all links; return whether it has to wait again."""
        stream = self.streams[path]
        if stream.is_unmatched:
            stream.is_unmatched = False
            additions = self._additions
            matching = yield from self.patterns.match_steps(path)
            if not matching and additions == self._additions:
                self.unlinked.add(path)
            yield from self.matches(matching, path)
        taken = stream.state
        assert taken is not None, "a stream that is removed waits no more"
        for link in stream.links:
            if link.subscription.links.get(path) is link:
                link.apply_state(stream.state or taken)
                self._consider(link.subscription)
            yield
        stream.note_pending()
        later = stream.state or taken
        adds_nothing = later is taken or (stream.is_pending_for_all and is_growth(taken, later))
        waits_again = stream.is_unmatched or not adds_nothing
        if not (stream.links or waits_again):
            self.streams.pop(path, None)
        return waits_again

    def _remove_stream(self, stream: LinkedStream | None, stream_id: int) -> None:
        """Keep the links to a removed stream that are explicit, and some others for a while."""
        if self._removed is not None:
            self._removed.add(stream_id)
        if stream is None:
            return
        self.late.drop(stream.path)
        stream.state = None
        links: list[StreamLink] = []
        for link in stream.links:
            subscription = link.subscription
            subscription.note_seen(stream.path)
            subscription.forget_pending(stream.path)
            if link.is_explicit:
                link.is_glob = False  # the pattern matches it again once it is created
                links.append(link)
                continue
            subscription.unlinked = 0
            if link.is_stored or link.is_recreated:
                self.remember_removed(link)
                links.append(link)
            else:
                subscription.links.pop(stream.path, None)
        stream.links = tuple(links)
        if not links:
            del self.streams[stream.path]

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


def _forget_unlinked(membership: Membership, stream: LinkedStream) -> None:
    """Forget a stream without links, unless it waits for a match, or another has its place."""
    if stream.path not in membership.late and membership.streams.get(stream.path) is stream:
        del membership.streams[stream.path]


def _may_wait(
    membership: Membership, stream: LinkedStream, state: StreamView, new: Sequence[object] | None
) -> bool:
    """Return whether a change that concerns many makes no links or cursors that are stored."""
    return membership.is_listed or (not new and is_growth(stream.state, state))


def _consider_all(stream: LinkedStream, consider: Callable[[DurableSubscription], object]) -> None:
    """Wake the subscriptions that have the stream pending, and note whether more data can."""
    for link in stream.links:
        consider(link.subscription)
    stream.note_pending()


def _link_created(
    membership: Membership, change: StreamChange, created: DurableSubscription | None
) -> Sequence[StreamLink]:
    """Link a stream that is handled late to the subscription that is being created, if it matches.

    Later it is not known how much of the stream was there before the subscription.
    """
    path = change.state.path
    pattern = None if created is None else created.configuration.parsed_pattern
    if created is None or pattern is None or not pattern.matches(path):
        return ()
    _match_changed(membership, created, change, is_created=True)
    return [created.links[path]] if path in created.links else ()


def _match_changed(
    membership: Membership,
    subscription: DurableSubscription,
    change: StreamChange,
    *,
    is_created: bool,
) -> None:
    """Link a changed stream to a subscription, which may be the one that is being created."""
    path = change.state.path
    if is_created and path not in subscription.links:
        link = membership.match(subscription, path, tail_before(change))
        _skip_what_was_there(link, change)
    else:
        membership.match(subscription, path, None)


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
