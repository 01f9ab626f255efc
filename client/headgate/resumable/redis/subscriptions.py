"""The connection on which Redis sends messages, made anew whenever it is lost."""

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
PING_S = 5.0  # silence that is broken by a question, and then the longest wait for an answer
RECONNECT_S = 0.05  # doubles up to
LONGEST_AGAIN_S = 1.0

_log = logging.getLogger("headgate.resumable")


class Subscriptions:
    """The channels of one event loop; a receiver is called at once and does not wait."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._receivers: dict[str, Callable[[str], None]] = {}
        self._confirmations: dict[str, asyncio.Future[OSError | None]] = {}
        self._connected: AbstractConnection | None = None
        self._hearing: asyncio.Task[None] | None = None

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        """Subscribe to a channel, and wait until that is in force; raise RedisError or OSError."""
        loop = asyncio.get_running_loop()
        self._receivers[channel] = receive
        confirmed = self._confirmations[channel] = loop.create_future()
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                if self._hearing is None or self._hearing.done():
                    self._hearing = loop.create_task(self._hear_on())
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
        """Unsubscribe, also from a channel whose subscription was cancelled under way."""
        self._receivers.pop(channel, None)
        if self._connected is not None:
            await _send(self._connected, "UNSUBSCRIBE", channel)

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

    async def _hear(self) -> None:
        # Only for its connection: a PubSub connects anew by itself, in each task that uses it.
        pubsub = self._client.pubsub()
        try:
            await pubsub.connect()  # type: ignore[no-untyped-call]  # of redis-py
            connection: AbstractConnection = pubsub.connection  # type: ignore[assignment]
            self._connected = connection  # channels from now on are subscribed to by themselves
            if self._receivers:
                await connection.send_command("SUBSCRIBE", *self._receivers)
            await self._hear_from(connection)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # of redis-py

    async def _hear_from(self, connection: AbstractConnection) -> None:
        hearing, is_asked = asyncio.current_task(), False
        while True:
            reply = await connection.read_response(
                timeout=PING_S, disconnect_on_error=False, push_request=True
            )
            if hearing is not None and hearing.cancelling():
                raise asyncio.CancelledError  # redis-py took it, now or as something was sent
            if reply is not None:
                is_asked = False
                self._take(reply)
            elif is_asked:
                raise TimeoutError(f"Redis was silent for {2 * PING_S:.0f} s")
            else:
                is_asked = True
                await connection.send_command("PING")

    def _take(self, reply: object) -> None:
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
    except Exception:  # noqa: BLE001 - the other channels are to be heard on
        _log.exception("a message could not be used")


async def _send(connection: AbstractConnection, *command: str) -> None:
    """Send a command if the connection stands: a new one subscribes to what is to be heard."""
    if connection.is_connected:
        try:
            with raised_cancellations():
                await connection.send_command(*command)
        except Exception as error:  # noqa: BLE001 - of redis-py, when it is lost in between
            _log.debug("the connection for messages is lost: %s", error)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
