"""The subscriptions of a shared log on the gateway that owns them: opened, and closed in time."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import LogUnavailable
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.shared import mail
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from gateway.features.delivery.documents import Documents
    from gateway.features.subscriptions.engine import SubscriptionRules
    from gateway.features.subscriptions.shared.lease import SubscriptionsLease, WorkSharing
    from gateway.features.subscriptions.shared.mail import StreamNote
    from gateway.protocol.streams.state import Change


# What another gateway has appended may be on its way for so long, before a claim finds nothing.
ON_THE_WAY_S = 0.05


class OwnedSubscriptions(RouteSubscriptions):
    """The subscriptions of one route, to which all gateways report the streams that they change."""

    compares_regularly = True  # also without a reason

    @abstractmethod
    async def apply_notes(self, notes: Mapping[str, StreamNote]) -> Collection[str]:
        """Take the streams that gateways have changed; return those that need not come again.

        Raises LogUnavailable.
        """

    @abstractmethod
    async def compare(self, note: Callable[[str, StreamNote], None]) -> None:
        """Compare all streams with what is known here, and call `note` with each that differs.

        Raises LogUnavailable.
        """

    def take_commit(self, change: Change) -> bool:  # noqa: ARG002 - for a log of our own
        """Take a commit of this gateway; return False if the stream has to be read for that."""
        return False

    def take_note(self, path: str, note: StreamNote) -> bool:  # noqa: ARG002 - for a log of our own
        """Take what another gateway reports of a stream; return False if it has to wait."""
        return False

    async def carry_out_first_writes(
        self,
        names: bytes,  # noqa: ARG002 - for origins that others write to
    ) -> mail.HandedOnResponse:
        """Store the links to streams that another gateway is about to write to."""
        return mail.NOT_CARRIED_OUT

    @override
    async def settle(self) -> None:
        await asyncio.sleep(ON_THE_WAY_S)


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
            if self.lease.owner != owner:  # others have taken over meanwhile
                await engine.close()
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
