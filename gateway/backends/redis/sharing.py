"""Sharing of one Redis by several gateways: notifications, versions, the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import Sharing
from gateway.backends.redis.commands import change_in, is_current
from gateway.backends.redis.servers.notifications import Notifications
from gateway.protocol.streams.moments import ClockReading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.backends.contract import LogListener
    from gateway.backends.redis.commands import Commands
    from gateway.backends.redis.connection import Reply
    from gateway.backends.redis.deadline_index import DeadlineIndex
    from gateway.backends.redis.names import RedisNames
    from gateway.backends.redis.servers.primaries import Primaries
    from gateway.backends.redis.servers.topology import Topology
    from gateway.protocol.streams.state import StreamState

    # Called with each message, and with None where some may have been missed until now.
    OnMessage = Callable[[bytes | None], None]


class PublishedChanges:
    """The changes that other gateways publish, decoded for the listener of one log."""

    def __init__(self, topology: Topology, names: RedisNames) -> None:
        self._topology = topology
        self._names = names
        self.listener: LogListener | None = None
        self.others: dict[bytes, OnMessage] = {}  # of other channels than those of streams
        self.notifications = Notifications(topology, names.removals_channel, self._on_message)

    def on_history_change(self) -> None:
        """Subscribe anew, since a server may have lost what it acknowledged, and say so."""
        if self._topology.is_cluster:
            self.notifications.moved()
        self.notifications.renew()
        if self.listener is not None:
            self.listener.on_history_change()

    def _on_message(self, channel: bytes, message: bytes | None) -> None:
        """Notify the listener of a message; None says that some may have been missed."""
        if (on_message := self.others.get(channel)) is not None:
            on_message(message)
            return
        if self.listener is None:
            return
        is_removal = channel == self._names.removals_channel.encode()
        if message is None and is_removal:
            self.listener.on_missed_removals()
        elif message is None:
            self.listener.on_missed_changes(self._names.path(channel))
        elif is_removal:
            version, _, meta = message.partition(b" ")
            stream_id = version.partition(b".")[0]
            if stream_id.isdigit():  # else another program published it
                self.listener.on_removal(self._names.path(meta), int(stream_id))
        else:
            change = change_in(message)
            if change is None:
                self.listener.on_missed_changes(self._names.path(channel))
            else:
                self.listener.on_change(change)


class RedisSharing(Sharing):
    """The ability of a log in Redis to be written by other gateways too."""

    def __init__(
        self,
        commands: Commands,
        execute: Callable[..., Awaitable[list[Reply]]],
        primaries: Primaries,
        changes: PublishedChanges,
        deadlines: DeadlineIndex,
        wait_replicas: int,
    ) -> None:
        self._commands = commands
        self._execute = execute
        self._primaries = primaries
        self._changes = changes
        self._deadlines = deadlines
        self._repeats_wait = wait_replicas > 0

    @property
    @override
    def repeats_wait(self) -> bool:
        return self._repeats_wait

    @override
    def listen(self, listener: LogListener) -> None:
        self._changes.listener = listener

    @override
    async def is_current(self, state: StreamState) -> bool:
        path = state.path
        (reply,) = await self._execute(
            self._commands.names.meta(path), self._commands.confirm(path)
        )
        self._primaries.compare(int(reply[0]))
        return is_current(reply, state)

    @override
    def follow(self, path: str) -> None:
        self._changes.notifications.follow(self._commands.names.meta(path))

    @override
    def unfollow(self, path: str) -> None:
        self._changes.notifications.unfollow(self._commands.names.meta(path))

    @override
    async def removal_time(self, now: ClockReading) -> ClockReading:
        """Return `now`, or the time of Redis if that is earlier.

        A gateway whose clock is ahead then removes no stream that has not ended by Redis' clock.
        """
        time = await self._deadlines.time()
        return ClockReading(min(now.wall, time), min(now.steady, time))
