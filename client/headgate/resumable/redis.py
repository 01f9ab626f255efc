"""A broker in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from headgate.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis.asyncio.connection import AbstractConnection

AWAY = "the Redis of resumable streams is away"
ANSWER_WITHIN_S = 5.0
CONNECTIONS = 8  # for commands: a large message holds up one of them
PING_S = 5.0  # of silence until a PING, and again until the connection counts as lost
RECONNECT_AFTER_S = 0.1

_log = logging.getLogger("headgate.resumable")


class RedisBroker:
    """A Redis as the broker of streams. Its connections are of one event loop, until `aclose`.

    Subscriptions share one connection, which is opened again when it is lost: messages of the
    meantime are missing. Each method raises Unavailable, within seconds, where Redis is away.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = _new_client(url)  # raises ValueError now rather than later
        self._loop: asyncio.AbstractEventLoop | None = None
        # Of each channel a callback that must not block, and whether Redis has confirmed it.
        self._channels: dict[str, tuple[Callable[[str], None], asyncio.Event]] = {}
        self._connected: AbstractConnection | None = None
        self._receiving: asyncio.Task[None] | None = None

    async def publish(self, channel: str, message: str) -> None:
        """Publish a message on a channel."""
        await self._command("PUBLISH", channel, message)

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        """Subscribe to a channel, and wait for the server's confirmation."""
        self._enter_loop()
        confirmed = asyncio.Event()
        self._channels[channel] = receive, confirmed
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                if self._receiving is None or self._receiving.done():
                    self._receiving = asyncio.create_task(self._receive())
                else:
                    await self._send("SUBSCRIBE", channel)
                await confirmed.wait()
        except TimeoutError as error:
            raise Unavailable(f"{AWAY}: it confirms no subscription") from error
        finally:
            if not confirmed.is_set():
                self._channels.pop(channel, None)

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe, also from a channel whose subscription was cancelled unconfirmed."""
        self._channels.pop(channel, None)
        await self._send("UNSUBSCRIBE", channel)

    async def incr(self, key: str) -> int | None:
        """Increment the counter; return None if the value is not a number."""
        try:
            return int(await self._command("INCR", key))
        except Unavailable as error:
            if "not an integer" in error.reason:
                return None
            raise

    async def set(self, key: str, value: str, ttl: float) -> None:
        """Store a value with a lifetime."""
        await self._command("SET", key, value, "PX", max(1, round(ttl * 1000)))

    async def get(self, key: str) -> str | None:
        """Return the value of a key."""
        return await self._command("GET", key)  # type: ignore[no-any-return]  # a str or None

    async def expire(self, key: str, ttl: float) -> bool:
        """Set the lifetime of a value; return False if there is none."""
        return bool(await self._command("PEXPIRE", key, max(1, round(ttl * 1000))))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._loop is not asyncio.get_running_loop():
            return
        self._channels.clear()
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
        await self._client.aclose()
        self._loop = None

    async def _command(self, *words: str | int) -> Any:  # noqa: ANN401 - what Redis replies
        self._enter_loop()
        try:
            with _raised_cancellations():
                return await self._client.execute_command(*words)  # type: ignore[no-untyped-call]  # of redis-py
        except (RedisError, OSError) as error:
            raise Unavailable(f"{AWAY}: {error or type(error).__name__}") from error

    def _enter_loop(self) -> None:
        """Begin anew in a new event loop. Raises RuntimeError while another one is open."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(
                "this ResumableStreams is open in another event loop: close it there, or make "
                "another"
            )
        self._loop = loop
        self._client = _new_client(self._url)
        self._channels, self._connected, self._receiving = {}, None, None

    async def _receive(self) -> None:
        while True:
            try:
                # For its connection: a PubSub reconnects by itself, in each task that uses it.
                async with self._client.pubsub() as pubsub:
                    await pubsub.connect()
                    await self._receive_from(pubsub.connection)
            except (RedisError, OSError) as error:
                _log.info("the connection for messages was lost: %s", error)
            finally:
                self._connected = None
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _receive_from(self, connection: AbstractConnection) -> None:
        self._connected = connection  # `subscribe` sends for later channels itself
        if self._channels:
            await connection.send_command("SUBSCRIBE", *self._channels)
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
            case ["message", str(name), str(data)] if name in self._channels:
                self._channels[name][0](data)
            case ["subscribe", str(name), _] if name in self._channels:
                self._channels[name][1].set()

    async def _send(self, *command: str) -> None:
        """Send a command if the connection is open; a new connection subscribes to all channels."""
        if self._connected is not None and self._connected.is_connected:
            try:
                with _raised_cancellations():
                    await self._connected.send_command(*command)
            except Exception as error:  # noqa: BLE001 - of redis-py, when it is lost in between
                _log.debug("the connection for messages is lost: %s", error)


def _new_client(url: str) -> Redis:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",  # a message that is not ours
            max_connections=CONNECTIONS,
            socket_connect_timeout=ANSWER_WITHIN_S,
            socket_timeout=ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),  # an INCR whose answer was lost must not count twice
            # By the newer protocol, redis-py gives out connections that Redis has closed.
            protocol=2,
        )
    except ValueError:
        # Of a password that was not escaped, the error of the parser would show a part.
        raise ValueError(
            "the URL of a Redis looks like redis://user:password@host:6379/0"
        ) from None
    return Redis.from_pool(pool)


@contextlib.contextmanager
def _raised_cancellations() -> Iterator[None]:
    """Raise at the end of the block a cancellation of this task that came within it.

    redis-py sends by `asyncio.wait_for`, which before Python 3.12 gives a result rather than raise
    when both come at once. The canceller would wait for ever: an `asyncio.timeout` cancels once.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
