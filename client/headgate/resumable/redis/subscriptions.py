"""Subscriptions to channels of Redis, on one connection that is reopened when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from headgate.resumable.cancellations import raised_cancellations

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

CONFIRM_WITHIN_S = 5.0
PING_S = 5.0  # of silence until a PING, and again until the connection counts as lost
RECONNECT_S = 0.05  # the first pause, which doubles up to
LONGEST_AGAIN_S = 1.0

_log = logging.getLogger("headgate.resumable")


class Subscriptions:
    """The subscribed channels of one event loop; a receiver is a callback that must not block."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._receivers: dict[str, Callable[[str], None]] = {}
        self._confirmations: dict[str, asyncio.Future[OSError | None]] = {}
        self._connected: AbstractConnection | None = None
        self._receiving: asyncio.Task[None] | None = None

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        """Subscribe to a channel, and wait for the confirmation. Raises RedisError or OSError."""
        loop = asyncio.get_running_loop()
        self._receivers[channel] = receive
        confirmed = self._confirmations[channel] = loop.create_future()
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                if self._receiving is None or self._receiving.done():
                    self._receiving = loop.create_task(self._receive())
                elif self._connected is not None:
                    await _send(self._connected, "SUBSCRIBE", channel)
                failure = await confirmed
            if failure is not None:
                raise failure  # noqa: TRY301 - it leaves by the same way as a timeout
        except BaseException:
            self._receivers.pop(channel, None)
            raise
        finally:
            self._confirmations.pop(channel, None)

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe, also from a channel whose subscription was cancelled unconfirmed."""
        self._receivers.pop(channel, None)
        if self._connected is not None:
            await _send(self._connected, "UNSUBSCRIBE", channel)

    async def aclose(self) -> None:
        """Close the connection."""
        self._receivers.clear()
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)

    async def _receive(self) -> None:
        wait_s = RECONNECT_S
        while True:
            try:
                await self._receive_once()
            except (RedisError, OSError) as error:
                _log.info("the connection for messages was lost: %s", error)
                if self._connected is not None:
                    wait_s = RECONNECT_S
                else:
                    wait_s *= 2
                    self._fail(error)
            finally:
                self._connected = None
            await asyncio.sleep(min(wait_s, LONGEST_AGAIN_S))

    def _fail(self, error: Exception) -> None:
        """Fail all pending subscriptions, because the server is away."""
        for confirmation in self._confirmations.values():
            if not confirmation.done():
                confirmation.set_result(ConnectionError(str(error)))

    async def _receive_once(self) -> None:
        # Used only for its connection: a PubSub reconnects by itself, in each task that uses it.
        pubsub = self._client.pubsub()
        try:
            await pubsub.connect()  # type: ignore[no-untyped-call]  # of redis-py
            connection: AbstractConnection = pubsub.connection  # type: ignore[assignment]
            self._connected = connection  # `subscribe` sends for later channels itself
            if self._receivers:
                await connection.send_command("SUBSCRIBE", *self._receivers)
            await self._receive_from(connection)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # of redis-py

    async def _receive_from(self, connection: AbstractConnection) -> None:
        task, is_pinged = asyncio.current_task(), False
        while True:
            reply = await connection.read_response(
                timeout=PING_S, disconnect_on_error=False, push_request=True
            )
            if task is not None and task.cancelling():
                raise asyncio.CancelledError  # redis-py has swallowed it, in a read or a write
            if reply is not None:
                is_pinged = False
                self._dispatch(reply)
            elif is_pinged:
                raise TimeoutError(f"Redis was silent for {2 * PING_S:.0f} s")
            else:
                is_pinged = True
                await connection.send_command("PING")

    def _dispatch(self, reply: object) -> None:
        match reply:
            case [kind, channel, data] if _text(kind) == "message":
                receive = self._receivers.get(_text(channel))
                if receive is not None:
                    _call(receive, _text(data))
            case [kind, channel, _] if _text(kind) == "subscribe":
                confirmation = self._confirmations.get(_text(channel))
                if confirmation is not None and not confirmation.done():
                    confirmation.set_result(None)
            case _:
                pass


def _call(receive: Callable[[str], None], message: str) -> None:
    try:
        receive(message)
    except Exception:  # noqa: BLE001 - the other channels must still be served
        _log.exception("a message could not be used")


async def _send(connection: AbstractConnection, *command: str) -> None:
    """Send a command if the connection is open; a new connection subscribes to all channels."""
    if connection.is_connected:
        try:
            with raised_cancellations():
                await connection.send_command(*command)
        except Exception as error:  # noqa: BLE001 - of redis-py, when it is lost in between
            _log.debug("the connection for messages is lost: %s", error)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
