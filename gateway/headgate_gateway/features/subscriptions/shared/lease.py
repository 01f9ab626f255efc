"""The lease of the subscriptions of a shared log: which gateway delivers, and who takes over.

Every gateway beats each BEAT_S. The owner counts as running by its beats, as the others see them
(`shared.beats`), and no clocks are compared. A gateway that is about to replace a silent owner
sends it a message one round before, and another afterwards. A gateway that was only paused may take
itself for the owner for a moment: each write of documents names its owner, and is refused then.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from headgate.shielding import shielded
from headgate_gateway.errors import HeadgateError, LogUnavailable
from headgate_gateway.features.redis.store import NOBODY, store_of
from headgate_gateway.features.subscriptions.shared import mail
from headgate_gateway.features.subscriptions.shared.beats import MISSES, STOPPED_S, OtherGateways
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from headgate_gateway.features.redis.documents import RedisOwnership
    from headgate_gateway.features.redis.heartbeats import RedisHeartbeats
    from headgate_gateway.features.redis.mailboxes import RedisMailboxes
    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.streams.state import StreamState


class WorkSharing(NamedTuple):
    """The abilities of a log whose gateways divide work.

    `states` returns the states of streams by path, None where there is no stream; streams whose
    server does not reply are left out.
    """

    heartbeats: RedisHeartbeats
    ownership: RedisOwnership
    mailboxes: RedisMailboxes
    states: Callable[[Sequence[str]], Awaitable[Mapping[str, StreamState | None]]]


def work_sharing_of(log: Log) -> WorkSharing | None:
    """Return the sharing of a log; None for one that no other process writes."""
    if (store := store_of(log)) is None:
        return None
    from headgate_gateway.features.redis.documents import RedisOwnership
    from headgate_gateway.features.redis.heartbeats import RedisHeartbeats
    from headgate_gateway.features.redis.mailboxes import RedisMailboxes
    from headgate_gateway.logs.redis.indexes import PathIndex

    assert isinstance(log.listing, PathIndex), "a log in Redis has it"
    return WorkSharing(
        RedisHeartbeats(store), RedisOwnership(store), RedisMailboxes(store), log.listing.states
    )


class SubscriptionsLease:
    """The lease as one gateway sees it: its owner, and the gateways beside this one."""

    def __init__(self, sharing: WorkSharing) -> None:
        self.name = secrets.token_hex(8)
        self.owner = NOBODY
        self.has_documents = False  # there may be subscriptions
        self.others: Sequence[str] = ()
        self.take_overs = 0
        self._sharing = sharing
        self._beats = 0
        self._others = OtherGateways()
        self._turn = asyncio.Lock()  # of each reading of the owner, and of what follows from it
        self._next_reading: asyncio.Future[None] | None = None  # one that has not begun
        self._seen_at = -inf  # when the last successful beat began
        self._silent_owner = NOBODY  # the one that was notified of an election

    @property
    def is_ours(self) -> bool:
        """True if this gateway was the owner when that was last read."""
        return self.owner.name == self.name

    @property
    def other_owner(self) -> str:
        """The name of another gateway that is the owner, or ""."""
        return "" if self.is_ours else self.owner.name

    @property
    def has_beaten(self) -> bool:
        """True after the first beat that succeeded."""
        return self._seen_at > -inf

    @property
    def is_beating(self) -> bool:
        """True if no other gateway can take this one for stopped yet."""
        return monotonic() - self._seen_at <= STOPPED_S

    @property
    def is_certain(self) -> bool:
        """True if no other gateway can have taken over since the last beat."""
        return self.is_ours and self.is_beating

    async def confirm(self) -> None:
        """Read the owner, after this call has begun. Raises LogUnavailable.

        No beat is counted: many requests may confirm the lease at once, and share a reading.
        """
        if self._next_reading is None:
            self._next_reading = asyncio.ensure_future(self._read_in_turn())
            self._next_reading.add_done_callback(_note_failure)
        await shielded(self._next_reading)

    async def _read_in_turn(self) -> None:
        async with self._turn:
            self._next_reading = None  # a call from now on needs a later one
            await self._read()

    async def _read(self) -> None:
        self.owner, self.has_documents = await self._sharing.ownership.read()

    async def beat(self) -> list[str]:
        """Beat, read the owner, and take over if there is none, or if the owner has stopped.

        Return the other gateways that have stopped. Raises LogUnavailable.
        """
        async with self._turn:
            began = monotonic()  # what is read may be as old, if this process stands still now
            self._beats += 1
            found = await self._sharing.heartbeats.beat(self.name, self._beats)
            beats = {name: number for name, number in found.items() if name != self.name}
            self.others = list(beats)
            await self._read()
            self._seen_at = began
            if self.owner.name not in {"", self.name}:
                self._others.watch(self.owner.name)
            stopped = self._others.see(beats, began)
            if not self.owner.name:
                await self._replace_owner()
            elif self._others.missed(self.owner.name) >= MISSES - 1:
                await self._elect(stopped)
        return stopped

    async def _elect(self, stopped: Collection[str]) -> None:
        """Replace the owner if it has not beaten since it was notified a round ago; else notify it.

        An owner that runs beats at once. One that stands still finds the notice before anything
        else that other gateways have sent since.
        """
        if self._silent_owner == self.owner and self.owner.name in stopped:
            await self._replace_owner()
        else:
            self._silent_owner = self.owner
            await self._send_message(self.owner.name)

    async def _send_message(self, name: str) -> None:
        """Have a gateway read the lease. Raises LogUnavailable."""
        await self._sharing.mailboxes.send(name, mail.encode(mail.LeaseMessage()))

    async def take_over(self) -> None:
        """Become the owner in place of the present one, and tell the other gateways.

        The new number fences what the former owner has under way. Raises LogUnavailable.
        """
        async with self._turn:
            await self._replace_owner()

    async def _replace_owner(self) -> None:
        former, ownership = self.owner, self._sharing.ownership
        taken = await ownership.acquire(former, self.name)
        if taken is None:
            await self._read()
            return
        self.owner = taken
        self.take_overs += 1
        log.info(
            "subscription.taken_over", number=self.owner.number, former=former.name or "nobody"
        )
        with contextlib.suppress(LogUnavailable):
            for other in self.others:
                await self._send_message(other)

    async def forget(self, other: str) -> None:
        """Forget a gateway that has stopped. Raises LogUnavailable."""
        await self._sharing.heartbeats.forget(other)
        self._others.forget(other)

    async def resign(self) -> None:
        """Leave the lease to others at once, as far as the log can be reached."""
        with contextlib.suppress(HeadgateError):
            if self.is_ours:
                await self._sharing.ownership.resign(self.owner)
                self.owner = self.owner._replace(name="")
                for other in self.others:
                    await self._send_message(other)
            await self._sharing.heartbeats.forget(self.name)


def _note_failure(reading: asyncio.Future[None]) -> None:
    """Note that a reading has failed, although no call may wait for it any more."""
    if not reading.cancelled():
        reading.exception()
