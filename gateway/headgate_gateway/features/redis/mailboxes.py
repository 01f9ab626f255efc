"""The mailboxes of gateways in Redis: a channel for each, and parcels that expire beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.logs.redis.connection import pack

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.notifications import OnMessage
    from headgate_gateway.logs.redis.store import RedisStore

KEPT_MS = 30_000  # a parcel that nobody takes: its receiver gives up long before


class RedisMailboxes:
    """The mailboxes of the gateways of one log.

    A message is heard at once or never. A parcel lies beside a mailbox for a while, for one taker.
    The `async` methods may raise LogUnavailable.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    def open(self, name: str, on_mail: OnMessage) -> None:
        """Have messages to this name notified."""
        self._store.notifications.subscribe(self._channel(name), on_mail)

    def close(self, name: str) -> None:
        """Have messages to this name notified no more."""
        self._store.notifications.unsubscribe(self._channel(name))

    async def send(self, name: str, message: bytes) -> bool:
        """Send a message; return whether somebody has heard it."""
        channel = self._channel(name)
        (heard,) = await self._store.execute(channel, pack("SPUBLISH", channel, message))
        return bool(heard)

    async def send_parcel(self, name: str, key: str, content: bytes, message: bytes) -> bool:
        """Put a parcel down, then send a message; return whether somebody has heard it."""
        channel, parcel = self._channel(name), self._parcel(name, key)
        put = pack("SET", parcel, content, "PX", KEPT_MS)
        _, heard = await self._store.execute(channel, put, pack("SPUBLISH", channel, message))
        return bool(heard)

    async def claim_parcel(self, name: str, key: str) -> bytes | None:
        """Take a parcel away; None if it is not there any more."""
        parcel = self._parcel(name, key)
        calls = pack("GET", parcel), pack("UNLINK", parcel)
        content, removed = await self._store.execute(parcel, *calls)
        return content if removed else None  # of two that ask at once, one removes it

    def _channel(self, name: str) -> str:
        return f"{self._store.prefix}:mailbox{{{name}}}"

    def _parcel(self, name: str, key: str) -> str:
        """Return the key of a parcel, in the slot of its mailbox."""
        return f"{self._channel(name)}:{key}"
