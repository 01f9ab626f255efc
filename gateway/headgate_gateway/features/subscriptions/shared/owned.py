"""The subscriptions of a shared log on the gateway that owns them: opened, and closed in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.subscriptions.engine import RouteSubscriptions
from headgate_gateway.features.subscriptions.streams import STREAMS_AT_ONCE
from headgate_gateway.protocol.streams.state import Change
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping

    from headgate_gateway.features.subscriptions.delivery.documents import Documents
    from headgate_gateway.features.subscriptions.engine import SubscriptionRules
    from headgate_gateway.features.subscriptions.shared.lease import SubscriptionsLease, WorkSharing
    from headgate_gateway.features.subscriptions.shared.streams import SharedStreams
    from headgate_gateway.protocol.streams.state import StreamState


# What another gateway has appended may be on its way for so long, before a claim finds nothing.
ON_THE_WAY_S = 0.05
# A comparison of all streams pauses for this many times the duration of each page, so that it takes
# a tenth of the time from others.
COMPARING_PAUSE = 9.0


class OwnedSubscriptions(RouteSubscriptions):
    """The subscriptions of one route, to which all gateways report the streams that they change."""

    streams: SharedStreams

    def concerns(self, path: str) -> bool:
        """Return whether a stream is linked, or would be, or is a wake stream."""
        return path in self.wake_streams or self.membership.concerns(path)

    def apply(self, path: str, state: StreamState | None, *, is_new: bool) -> None:
        """Take the present state of a stream, None if there is none."""
        known = self.membership.state_of(path)
        if state is not None and state.soft_deleted:
            state = None
        if known is not None and state is not None and state.is_along(known):
            if state.version >= known.version:
                self.on_change(Change(state, state.version))
            return  # else a later read was quicker
        if known is not None and (state is None or state.stream_id != known.stream_id):
            self.on_change(Change(known, known.version, removes=True))
            known = None
        if state is not None:
            is_first = known is None and (is_new or path not in self.wake_streams)
            self.on_change(Change(state, None if is_first else state.version))

    def take_commit(self, change: Change) -> bool:
        """Take a commit of this gateway; return False if the stream has to be read for that."""
        state = change.state
        known = self.membership.state_of(state.path)
        if known is None:
            return not self.concerns(state.path)
        if change.removes or state.soft_deleted or not state.is_along(known):
            return False  # another gateway may have removed or created it meanwhile
        if state.version > known.version:
            self.on_change(change)
        return True

    @override
    async def settle(self) -> None:
        await asyncio.sleep(ON_THE_WAY_S)

    @override
    async def refresh(self, names: Iterable[str]) -> None:
        linked = [name for name in names if name in self.membership.streams]
        for start in range(0, len(linked), STREAMS_AT_ONCE):
            some = linked[start : start + STREAMS_AT_ONCE]
            for path, state in (await self.streams.sharing.states(some)).items():
                self.apply(path, state, is_new=False)

    async def apply_notes(self, notes: Mapping[str, bool]) -> Collection[str]:
        """Read the streams that gateways have changed; return those that need not come again.

        Raises LogUnavailable.
        """
        to_read = [path for path in notes if self.concerns(path)]
        states = await self.streams.sharing.states(to_read) if to_read else {}
        for path, state in states.items():
            self.apply(path, state, is_new=notes[path])
        return (notes.keys() - set(to_read)) | states.keys()

    async def changed_streams(self) -> AsyncIterator[tuple[str, bool]]:
        """Yield each stream that differs from what is known here, and whether it is new.

        Raises LogUnavailable.
        """
        seen: set[str] = set()
        async for state in self.streams.states("", COMPARING_PAUSE):
            known = self.membership.state_of(state.path)
            if known is not None:
                seen.add(state.path)
            if self.concerns(state.path) and _differs(known, state):
                yield state.path, known is None and state.path not in self.wake_streams
        for path, stream in list(self.membership.streams.items()):
            if stream.state is not None and path not in seen:
                yield path, False


def _differs(known: StreamState | None, state: StreamState) -> bool:
    if known is None:
        return not state.soft_deleted
    return state.stream_id != known.stream_id or state.version != known.version


class OwnedLoader:
    """The loader of the subscriptions under a lease: each lease begins with what the log has."""

    def __init__(
        self,
        sharing: WorkSharing,
        lease: SubscriptionsLease,
        make: Callable[[Documents], OwnedSubscriptions],
        on_opened: Callable[[], None],
    ) -> None:
        """`make` makes the subscriptions with the documents that their owner may write."""
        self._open_engine: OwnedSubscriptions | None = None
        self._sharing = sharing
        self.lease = lease
        self._make = make
        self._on_opened = on_opened
        self._rules: SubscriptionRules | None = None  # where they have changed since the start
        self._opening: asyncio.Task[None] | None = None
        self._number = 0  # of the lease under which the engine was opened
        self._is_outdated = False

    @property
    def engine(self) -> OwnedSubscriptions | None:
        """The subscriptions, if they are open, and were opened under the present lease.

        Those of an earlier lease know nothing of what happened under another owner.
        """
        owner = self.lease.owner
        return self._open_engine if self.lease.is_ours and owner.number == self._number else None

    def renew(self, rules: SubscriptionRules) -> None:
        """Follow new settings."""
        self._rules = rules
        if self._open_engine is not None:
            self._open_engine.renew(rules)

    def outdate(self) -> None:
        """Have the subscriptions loaded anew: the log may have lost what it acknowledged."""
        self._is_outdated = True

    async def follow(self) -> None:
        """Open or close the subscriptions, as the lease stands."""
        if self.lease.is_ours and self._is_outdated and self._number == self.lease.owner.number:
            await self.lease.take_over()  # requests to the former subscriptions may be under way
        if not self.lease.is_ours:
            await self._close()
        elif self._number != self.lease.owner.number and self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def close(self) -> None:
        """End deliveries, and write what is marked."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._close()

    async def _open(self) -> None:
        """Open the subscriptions; after a failure, the next beat tries again."""
        owner, self._is_outdated = self.lease.owner, False
        try:
            await self._close()
            engine = self._make(self._sharing.ownership.documents_of(owner))
            if self._rules is not None:
                engine.renew(self._rules)
            if not await _is_open(engine):
                return
            self._open_engine, self._number = engine, owner.number
        finally:
            self._opening = None
        self._on_opened()

    async def _close(self) -> None:
        engine, self._open_engine = self._open_engine, None
        self._number = 0
        if engine is not None:
            await engine.close()


async def _is_open(engine: OwnedSubscriptions) -> bool:
    """Open subscriptions, and return whether that was possible."""
    try:
        await engine.open()
    except BaseException as error:
        await engine.close()
        if not isinstance(error, Exception):
            raise
        if not isinstance(error, LogUnavailable):
            log.exception("subscription.not_opened", route=engine.prefix)
        return False
    return True
