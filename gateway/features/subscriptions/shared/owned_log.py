"""The subscriptions of a shared log while this gateway delivers: changes come from all gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from gateway.features.subscriptions.shared.owned import OwnedSubscriptions
from gateway.features.subscriptions.shared.stream_notes import GrowthReport
from gateway.features.subscriptions.streams.hosted_streams import STREAMS_AT_ONCE
from gateway.protocol.streams.state import Change, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from gateway.features.subscriptions.engine import SubscriptionRules
    from gateway.features.subscriptions.shared.stream_notes import StreamNote
    from gateway.features.subscriptions.shared.streams import SharedStreams
    from gateway.features.subscriptions.state.owners import OwnerAccess
    from gateway.features.subscriptions.storage.documents import Documents
    from gateway.features.subscriptions.streams.contract import StreamView


class OwnedLogSubscriptions(OwnedSubscriptions):
    """The subscriptions of one route to a log of our own, whose streams are read there."""

    streams: SharedStreams

    def __init__(
        self,
        prefix: str,
        streams: SharedStreams,
        documents: Documents,
        rules: SubscriptionRules,
        clock: Callable[[], float],
        rights: OwnerAccess,
    ) -> None:
        super().__init__(prefix, streams, documents, rules, clock, rights)
        self.streams = streams

    def concerns(self, path: str) -> bool:
        """Return whether a stream is linked, or would be, or is a wake stream."""
        return path in self.wake_streams or self.membership.concerns(path)

    def apply(self, path: str, state: StreamState | None, *, is_new: bool) -> None:
        """Take the present state of a stream, None if there is none."""
        known = self.membership.state_of(path)
        if state is not None and state.soft_deleted:
            state = None
        assert known is None or isinstance(known, StreamState), "a stream of a log of our own"
        if known is not None and _is_older(state, known):
            return  # a later read was quicker
        if known is not None and (state is None or state.stream_id != known.stream_id):
            self.on_change(Change(known, known.version, removes=True))
            known = None
        if state is not None:
            is_first = known is None and (is_new or path not in self.wake_streams)
            self.on_change(Change(state, None if is_first else state.version))

    @override
    def take_commit(self, change: Change) -> bool:
        state = change.state
        known = self.membership.state_of(state.path)
        if known is None:
            return not self.concerns(state.path)
        assert isinstance(known, StreamState), "a stream of a log of our own"
        if change.removes or state.soft_deleted or not state.is_along(known):
            return False  # another gateway may have removed or created it meanwhile
        if state.version > known.version:
            self.on_change(change)
        return True

    @override
    async def refresh(self, names: Iterable[str]) -> None:
        linked = [name for name in names if name in self.membership.streams]
        for start in range(0, len(linked), STREAMS_AT_ONCE):
            some = linked[start : start + STREAMS_AT_ONCE]
            for path, state in (await self.streams.sharing.states(some)).items():
                self.apply(path, state, is_new=False)

    @override
    def take_note(self, path: str, note: StreamNote) -> bool:
        known = self.membership.state_of(path)
        if known is None:
            return not self.concerns(path)
        assert isinstance(known, StreamState), "a stream of a log of our own"
        if not isinstance(note, GrowthReport):
            return False
        if (known.stream_id, known.history) != (note.stream_id, note.history):
            return False
        if note.version > known.version >= note.since:
            grown = msgspec.structs.replace(known, version=note.version, tail=note.tail)
            self.on_change(Change(grown, known.version))
        return known.version >= note.since

    @override
    async def apply_notes(self, notes: Mapping[str, StreamNote]) -> Collection[str]:
        to_read = [path for path in notes if self.concerns(path)]
        states = await self.streams.sharing.states(to_read) if to_read else {}
        for path, state in states.items():
            self.apply(path, state, is_new=notes[path] is True)
        return (notes.keys() - set(to_read)) | states.keys()

    @override
    async def compare(self, note: Callable[[str, StreamNote], None]) -> None:
        seen: set[str] = set()
        async for state in self.streams.states_slowly():
            known = self.membership.state_of(state.path)
            if known is not None:
                seen.add(state.path)
            if self.concerns(state.path) and _differs(known, state):
                note(state.path, known is None and state.path not in self.wake_streams)
        for subscription in self.by_id.values():
            for path, link in subscription.links.items():
                if link.stream.state is not None and path not in seen:
                    note(path, False)


def _is_older(state: StreamState | None, known: StreamState) -> bool:
    return state is not None and state.is_along(known) and state.version < known.version


def _differs(known: StreamView | None, state: StreamState) -> bool:
    if known is None:
        return not state.soft_deleted
    return state.stream_id != known.stream_id or state.version != known.version
