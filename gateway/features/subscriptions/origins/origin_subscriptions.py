"""The subscriptions of a route to an HTTP origin, with their rows in a log of this gateway.

What is linked is stored before a write is passed on, and the ends of streams are not stored at all:
a crash between the origin's answer to an append and anything that follows from it loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.edge.metrics import TAIL_CHECK_PERIOD
from gateway.errors import HeadgateError, OriginBusy, OriginTimeout, OriginUnreachable
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.origins.origin_view import stored_view
from gateway.features.subscriptions.state.subscription import UnseenStream
from gateway.stepped import in_task
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.features.delivery.documents import Documents
    from gateway.features.subscriptions.engine import SubscriptionRules
    from gateway.features.subscriptions.origins.origin_streams import OriginStreams
    from gateway.features.subscriptions.state.delivery_state import Wake
    from gateway.features.subscriptions.state.owners import OwnerAccess
    from gateway.features.subscriptions.state.subscription import DurableSubscription
    from gateway.features.subscriptions.streams import StreamChange
    from gateway.protocol.streams.offsets import TailBound
    from gateway.runtime.write_journal import Write

# A start waits so long for the ends of all linked streams; then they are compared meanwhile. Claims
# wait for a second, also while another gateway takes over.
COMPARED_WITHIN_S = 0.5


class OriginSubscriptions(RouteSubscriptions):
    """The subscriptions of one route to an origin."""

    def __init__(
        self,
        prefix: str,
        streams: OriginStreams,
        documents: Documents,
        rules: SubscriptionRules,
        clock: Callable[[], float],
        rights: OwnerAccess,
    ) -> None:
        self.origin_streams = streams
        super().__init__(prefix, streams, documents, rules, clock, rights)
        self.origin_streams.linked = self.membership.streams
        self._beginning = f"{prefix}/"
        self._unstored: set[str] = set()  # names whose links are being stored, or could not be

    @override
    async def find_changes(self) -> None:
        """Compare the ends of all linked streams with the cursors, as far as that is quickly done.

        Until the end of a stream is known, its cursor is sent in place of it, and a worker that
        claims may look. The stored wakes go on once all are compared.
        """
        stored = {it: it.delivery.wake for it in self.by_id.values()}
        for subscription in stored:
            for path, link in subscription.links.items():
                # Periodic checks run already: what one of them has seen is not unseen.
                if link.stream.state is None:
                    subscription.unseen[path] = UnseenStream(stored_view(link))
            subscription.phase = "active"
        compared = self.origin_streams.checks.compare_all(list(self.membership.streams))
        compared.add_done_callback(partial(self._go_on, stored))
        await asyncio.wait({compared}, timeout=COMPARED_WITHIN_S)

    def _go_on(
        self, stored: Mapping[DurableSubscription, Wake | None], compared: asyncio.Future[None]
    ) -> None:
        """Go on with the stored wakes that are still in flight."""
        for subscription, wake in () if compared.cancelled() else stored.items():
            if subscription.phase == "active" and subscription.delivery.wake is wake:
                self.wakes.restore(subscription)

    # What passes through this gateway

    async def before_write(self, path: str, *, creates_empty: bool) -> None:
        """Store the links to a stream, if it is written to for the first time.

        It is linked at its present tail, so that what follows wakes. Raises LogUnavailable.
        """
        name = self._name(path)
        await self.link_unlinked(name)
        if name in self.membership.streams:
            self.origin_streams.creations.note(name, creates_empty=creates_empty)

    def has_all_links(self, name: str) -> bool:
        """Return whether every matching subscription is linked to the stream."""
        return not self.membership.find_unlinked(name)

    def is_awaited(self, name: str) -> bool:
        """Return whether a stream is linked, or is a wake stream."""
        return name in self.membership.streams or name in self.wake_streams

    def may_be_awaited(self, name: str) -> bool:
        """Return whether a stream is awaited, or would be linked.

        A link may have been dropped while the write that creates its stream was on its way.
        """
        return self.is_awaited(name) or not self.has_all_links(name)

    async def link_unlinked(self, name: str) -> None:
        """Store the links to a stream that there are not yet.

        Raises LogUnavailable, and OriginUnreachable, OriginTimeout or OriginBusy where it cannot be
        known now whether the stream exists: a link would begin at its beginning.
        """
        if self.has_all_links(name) and name not in self._unstored:
            return
        await in_task()
        try:
            state = await self.origin_streams.state(name)
        except (OriginUnreachable, OriginTimeout, OriginBusy):
            raise
        except HeadgateError:  # the origin permits no HEAD: what is there is known with the write
            state = None
        if linked := self.membership.find_unlinked(name):
            self._unstored.add(name)
        for subscription in linked:
            if state is not None:
                self.membership.find_candidates(state, linked)
                self.link_existing(subscription, state)
            elif (link := self.membership.match(subscription, name, None)) is not None:
                self.rows.mark_link(link)
        await self.rows.flush()
        self._unstored.discard(name)

    def on_write(self, write: Write) -> None:
        """Take a write through this gateway; called before its client gets the answer."""
        name = self._name(write.path)
        if self.may_be_awaited(name):
            with _log_errors(name):
                self.origin_streams.on_write(name, write)

    def on_refusal(self, path: str) -> None:
        """Check soon whether there is a stream to which the origin has refused a write.

        Otherwise links to many that do not exist would take the turns of the others.
        """
        name = self._name(path)
        self.origin_streams.creations.pop(name)
        if name in self.membership.streams and self.membership.state_of(name) is None:
            self.origin_streams.checks.soon(name)

    def on_tail(self, path: str, tail: TailBound) -> None:
        """Take the end of a stream that a read through this gateway has shown."""
        name = self._name(path)
        with _log_errors(name):
            self.origin_streams.on_tail(name, tail)

    def _name(self, path: str) -> str:
        return path.removeprefix(self._beginning)

    @override
    def on_change(self, change: StreamChange) -> None:
        stream = self.membership.streams.get(change.state.path)
        links = () if stream is None else stream.links
        for link in links if change.removes else ():
            if not (link.is_explicit or link.is_stored or link.is_recreated):
                self.rows.remove_link(link)
        super().on_change(change)
        is_new = change.expected is None or not links
        stream = self.membership.streams.get(change.state.path)
        for link in stream.links if stream is not None and is_new and not change.removes else ():
            self.rows.mark_link(link)  # an origin could not say later that it was empty

    @override
    def samples(self) -> Iterator[Sample]:
        yield from super().samples()
        period_s = self.origin_streams.checks.longest_delay_s
        yield Sample(TAIL_CHECK_PERIOD, (self.prefix,), period_s)

    @override
    async def close(self) -> None:
        await self.origin_streams.close()
        await super().close()


@contextlib.contextmanager
def _log_errors(name: str) -> Iterator[None]:
    """Log an error instead of raising it: what it is about has happened."""
    try:
        yield
    except Exception:  # noqa: BLE001 - the client has to get its answer
        log.exception("subscription.change_missed", path=name)
