"""The connection on which Redis sends messages, made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

CONFIRM_WITHIN_S = 5.0
PING_S = 5.0  # silence that is broken by a question, and then the longest wait for an answer
RECONNECT_S = 0.05  # doubles up to
LONGEST_AGAIN_S = 1.0

_log = logging.getLogger("headgate.resumable")


class Subscriptions:
    """The channels of one event loop; a receiver is called at once and does not wait."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._receivers: dict[str, Callable[[str], None]] = {}
        self._confirmations: dict[str, asyncio.Future[None]] = {}
        self._connected: PubSub | None = None
        self._hearing: asyncio.Task[None] | None = None

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        """Hear a channel; returns when that is in force. Raises RedisError or OSError."""
        loop = asyncio.get_running_loop()
        self._receivers[channel] = receive
        confirmed = self._confirmations[channel] = loop.create_future()
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                if self._hearing is None or self._hearing.done():
                    self._hearing = loop.create_task(self._hear_on())
                elif self._connected is not None:
                    await self._connected.subscribe(channel)
                await confirmed
        except BaseException:
            self._receivers.pop(channel, None)
            raise
        finally:
            self._confirmations.pop(channel, None)

    async def unsubscribe(self, channel: str) -> None:
        """Hear it no more. Raises RedisError or OSError."""
        if self._receivers.pop(channel, None) is not None and self._connected is not None:
            await self._connected.unsubscribe(channel)

    async def aclose(self) -> None:
        """End."""
        self._receivers.clear()
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)

    async def _hear_on(self) -> None:
        wait_s = RECONNECT_S
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                _log.info("the connection for messages was lost: %s", error)
                wait_s = RECONNECT_S if self._connected is not None else 2 * wait_s
                self._fail(error)
            finally:
                self._connected = None
            await asyncio.sleep(min(wait_s, LONGEST_AGAIN_S))

    def _fail(self, error: Exception) -> None:
        """Whoever waits for a channel is not to wait for a server that is away."""
        for confirmation in self._confirmations.values():
            if not confirmation.done():
                confirmation.set_exception(ConnectionError(str(error)))

    async def _hear(self) -> None:
        pubsub, hearing = self._client.pubsub(), asyncio.current_task()
        try:
            await pubsub.connect()  # type: ignore[no-untyped-call]  # of redis-py
            self._connected = pubsub  # channels from now on are subscribed to by themselves
            if self._receivers:
                await pubsub.subscribe(*self._receivers)
            is_asked = False
            while True:
                message = await pubsub.get_message(timeout=PING_S)
                if hearing is not None and hearing.cancelling():
                    raise asyncio.CancelledError  # redis-py took it for its timeout
                if message is not None:
                    is_asked = False
                    self._take(message)
                elif is_asked:
                    raise TimeoutError(f"Redis was silent for {2 * PING_S:.0f} s")
                else:
                    is_asked = True
                    await pubsub.ping()
        finally:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # of redis-py

    def _take(self, message: dict[str, Any]) -> None:
        channel = _text(message["channel"])
        if message["type"] == "message" and (receive := self._receivers.get(channel)) is not None:
            try:
                receive(_text(message["data"]))
            except Exception:  # noqa: BLE001 - the other channels are to be heard on
                _log.exception("a message could not be used")
        elif message["type"] == "subscribe" and channel in self._confirmations:
            confirmation = self._confirmations[channel]
            if not confirmation.done():
                confirmation.set_result(None)


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
