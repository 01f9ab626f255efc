"""The subscriptions of a shared log while this gateway delivers: changes come from all gateways."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.protocol.streams.state import Change, StreamState
from gateway.subscriptions.engine import RouteSubscriptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.access.contract import Guard
    from gateway.backends.contract import Documents
    from gateway.subscriptions.engine import SubscriptionRules
    from gateway.subscriptions.shared.streams import SharedStreams
    from gateway.subscriptions.streams.contract import StreamView

# What another gateway has appended may be on its way for so long, before a claim finds nothing.
ON_THE_WAY_S = 0.05


class OwnedSubscriptions(RouteSubscriptions):
    """The subscriptions of one route, to which all gateways report the streams that they change."""

    streams: SharedStreams

    def __init__(
        self,
        prefix: str,
        streams: SharedStreams,
        documents: Documents,
        rules: SubscriptionRules,
        clock: Callable[[], float],
        guard: Callable[[], Guard | None],
    ) -> None:
        super().__init__(prefix, streams, documents, rules, clock, guard)
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
    async def refresh(self, names: Iterable[str]) -> None:
        linked = [name for name in names if self.membership.state_of(name) is not None]
        if linked:
            for path, state in (await self.streams.sharing.states(linked)).items():
                self.apply(path, state, is_new=False)

    @override
    async def settle(self) -> None:
        await asyncio.sleep(ON_THE_WAY_S)

    async def compare(self, note: Callable[[str, bool], None]) -> None:
        """Call `note` with each stream that differs from what is known here, and whether it is new.

        Raises LogUnavailable.
        """
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
