"""The lease of the subscriptions of a shared log: which gateway delivers, and who takes over.

Every gateway beats each BEAT_S. The owner is judged by its beats, as the others see them
(`backends.beats`), and no clocks are compared. A gateway that was only paused may take itself for
the owner for a moment: each write of documents names its owner, and is refused then.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from gateway.backends.beats import OtherGateways, OwnHeartbeats
from gateway.backends.shared_contract import NOBODY
from gateway.errors import HeadgateError
from gateway.protocol.http.paths import RESERVED
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.backends.contract import Sharing


class SubscriptionsLease:
    """The lease as one gateway sees it: its owner, and the gateways beside this one."""

    def __init__(self, sharing: Sharing) -> None:
        self.name = secrets.token_hex(8)
        self.owner = NOBODY
        self.has_documents = False  # there may be subscriptions
        self.others: Sequence[str] = ()
        self.take_overs = 0
        self._sharing = sharing
        self._own = OwnHeartbeats()
        self._others = OtherGateways()

    @property
    def is_ours(self) -> bool:
        """True if this gateway was the owner at the last beat."""
        return self.owner.name == self.name

    @property
    def is_beating(self) -> bool:
        """True if no other gateway can take this one for stopped yet."""
        return not self._own.is_overdue(asyncio.get_running_loop().time())

    @property
    def is_certain(self) -> bool:
        """True if no other gateway can have taken over since the last beat."""
        return self.is_ours and self.is_beating

    async def find_others(self) -> Mapping[str, int]:
        """Return the beats of the gateways beside this one as they are now; no beat is counted.

        Raises LogUnavailable.
        """
        beats = await self._sharing.heartbeats.beat(RESERVED, self.name, self._own.number)
        others = {name: number for name, number in beats.items() if name != self.name}
        self.others = list(others)
        return others

    async def beat(self) -> list[str]:
        """Beat, see who owns, and take over if nobody does, or if the owner has stopped.

        Return the other gateways that have stopped. Raises LogUnavailable.
        """
        self._own.number += 1
        beats = await self.find_others()
        self._own.note(asyncio.get_running_loop().time())
        self.owner, self.has_documents = await self._sharing.ownership.read()
        if self.owner.name not in {"", self.name}:
            self._others.may_run(self.owner.name)
        stopped = self._others.see(beats)
        if not self.owner.name or self.owner.name in stopped:
            await self.take_over()
        return stopped

    async def take_over(self) -> None:
        """Take over from the present owner, perhaps from this gateway itself.

        A later number fences what the former one has under way. Raises LogUnavailable.
        """
        former, ownership = self.owner, self._sharing.ownership
        taken = await ownership.acquire(former, self.name)
        if taken is None:
            self.owner, _ = await ownership.read()
            return
        self.owner = taken
        self.take_overs += 1
        log.info("subscription.taken_over", number=taken.number, former=former.name or "nobody")

    def excuse(self) -> None:
        """Count no beats that were missed while the log could not be reached."""
        self._others.excuse()

    async def forget(self, other: str) -> None:
        """Forget a gateway that has stopped. Raises LogUnavailable."""
        await self._sharing.heartbeats.forget(RESERVED, other)
        self._others.forget(other)

    async def resign(self) -> None:
        """Leave the lease to others at once, as far as the log can be reached."""
        with contextlib.suppress(HeadgateError):
            if self.is_ours:
                await self._sharing.ownership.resign(self.owner)
                self.owner = self.owner._replace(name="")
            await self._sharing.heartbeats.forget(RESERVED, self.name)
