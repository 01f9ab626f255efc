"""The mailboxes of gateways in Redis: a channel for each, and parcels that expire beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.backends.redis.connection import pack
from gateway.backends.redis.names import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.redis.commands import Commands
    from gateway.backends.redis.connection import Packed
    from gateway.backends.redis.servers.call import RedisRequests
    from gateway.backends.redis.servers.notifications import Notifications

    # Called with each message, and with None where some may have been missed until now.
    OnMail = Callable[[bytes | None], None]

KEPT_MS = 30_000  # a parcel that nobody takes: whoever waits for it gives up long before


class RedisMailboxes:
    """The mailboxes of the gateways of one log."""

    def __init__(
        self, commands: Commands, requests: RedisRequests, notifications: Notifications
    ) -> None:
        self._commands = commands
        self._requests = requests
        self._notifications = notifications
        self.by_channel: dict[bytes, OnMail] = {}

    def open(self, name: str, on_mail: OnMail) -> None:
        """Have messages to this name notified."""
        channel = self._commands.names.mailbox(name)
        self.by_channel[channel.encode()] = on_mail
        self._notifications.follow(channel)

    def close(self, name: str) -> None:
        """Have messages to this name notified no more."""
        channel = self._commands.names.mailbox(name)
        self.by_channel.pop(channel.encode(), None)
        self._notifications.unfollow(channel)

    async def send(self, name: str, message: bytes) -> bool:
        """Send a message; return whether somebody has heard it."""
        channel = self._commands.names.mailbox(name)
        (heard,) = await self._requests.execute(channel, self._publish(channel, message))
        return bool(heard)

    async def send_parcel(self, name: str, key: str, content: bytes, message: bytes) -> bool:
        """Put a parcel down, then send a message; return whether somebody has heard it."""
        channel, parcel = self._commands.names.mailbox(name), self._commands.names.parcel(name, key)
        put = pack("SET", parcel, content, "PX", KEPT_MS)
        _, heard = await self._requests.execute(channel, put, self._publish(channel, message))
        return bool(heard)

    async def claim_parcel(self, name: str, key: str) -> bytes | None:
        """Take a parcel away; None if it is not there any more."""
        parcel = self._commands.names.parcel(name, key)
        call = pack("FCALL", f"headgate_claim_parcel_{VERSION}", 1, parcel)
        (content,) = await self._requests.execute(parcel, call)
        found: bytes | None = content
        return found

    def _publish(self, channel: str, message: bytes) -> Packed:
        verb = "SPUBLISH" if self._commands.channels.sharded else "PUBLISH"
        return pack(verb, channel, message)
