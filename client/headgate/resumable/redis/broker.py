"""A broker in Redis; each event loop has connections of its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from headgate.resumable.cancellations import raised_cancellations
from headgate.resumable.per_loop import PerLoop
from headgate.resumable.redis.subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECT_WITHIN_S = 5.0
ANSWER_WITHIN_S = 5.0
CONNECTIONS = 8  # for commands, for each event loop: a large message holds up one of them
FREE_WITHIN_S = 20.0  # one of those


class RedisBroker:
    """A Publisher and a Subscriber, made of the URL of a Redis, or of a client."""

    def __init__(self, redis: str | Redis) -> None:
        """Take a URL, or a client, which serves the event loop of its first use and stays open."""
        self._redis = redis
        if isinstance(redis, str):
            _new_client(redis)  # raises ValueError now rather than later
        self._connections = PerLoop(self._connected)

    async def publish(self, channel: str, message: str) -> None:
        """Publish a message on a channel."""
        with _translated():
            await self._connections.here().client.publish(channel, message)

    async def incr(self, key: str) -> int | None:
        """Increment the counter (INCR); return None if the value is no number."""
        with _translated():
            try:
                # Client.incr would send INCRBY.
                count = self._connections.here().client.execute_command("INCR", key)  # type: ignore[no-untyped-call]  # of redis-py
                return int(await count)
            except exceptions.ResponseError as error:
                if "not an integer" in str(error):
                    return None
                raise

    async def set(self, key: str, value: str, ttl: float) -> None:
        """Store a value with a lifetime (SET)."""
        with _translated():
            await self._connections.here().client.set(key, value, px=_milliseconds(ttl))

    async def get(self, key: str) -> str | None:
        """Return the value of a key (GET)."""
        with _translated():
            value = await self._connections.here().client.get(key)
        return value.decode() if isinstance(value, bytes) else value

    async def expire(self, key: str, ttl: float) -> bool:
        """Set the lifetime of a value; return False if there is none."""
        with _translated():
            return bool(await self._connections.here().client.pexpire(key, _milliseconds(ttl)))

    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        """Subscribe to a channel, and wait for the server's confirmation."""
        with _translated():
            await self._connections.here().subscriptions.subscribe(channel, receive)

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        with _translated():
            await self._connections.here().subscriptions.unsubscribe(channel)

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        connections = self._connections.pop()
        if connections is not None:
            await connections.subscriptions.aclose()
            if isinstance(self._redis, str):
                await connections.client.aclose()

    def _connected(self) -> _Connections:
        if isinstance(self._redis, str):
            return _Connections(_new_client(self._redis))
        if self._connections.are_elsewhere():
            raise RuntimeError(
                "a Redis client belongs to one event loop: give ResumableStreams the URL instead"
            )
        return _Connections(self._redis)


class _Connections:
    """The connections of one event loop."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.subscriptions = Subscriptions(client)


def _new_client(url: str) -> Redis:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=FREE_WITHIN_S,
            socket_connect_timeout=CONNECT_WITHIN_S,
            socket_timeout=ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),  # an INCR whose answer was lost must not count twice
        )
    except ValueError:
        # Of a password that was not escaped, the error of the parser would show a part.
        raise ValueError(
            "the URL of a Redis looks like redis://user:password@host:6379/0"
        ) from None
    return Redis.from_pool(pool)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise errors of redis-py as OSError, the error that each broker raises."""
    try:
        with raised_cancellations():
            yield
    except exceptions.RedisError as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
