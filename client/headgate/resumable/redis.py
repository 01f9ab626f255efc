"""A broker in Redis: in one server, in the primary that sentinels name, or in a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.client import Pipeline
from redis.asyncio.cluster import ClusterNode, ClusterPipeline
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError, RedisClusterException, RedisError
from typing_extensions import override

from headgate.errors import Unavailable
from headgate.redis_url import DEFAULT_PREFIX
from headgate.resumable.brokers import Broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from redis.asyncio.connection import AbstractConnection

    from headgate.redis_url import RedisUrl
    from headgate.resumable.brokers import Receive

AWAY = "the Redis of resumable streams is away"
ANSWER_WITHIN_S = 5.0
SENTINEL_WITHIN_S = 1.0  # then the next one is asked
AT_MOST_S = 2 * ANSWER_WITHIN_S  # for a command, with its turn and a client's own repetitions
COMMANDS = 8  # at once, each on a connection: a large message holds up one of them
PING_S = 5.0  # of silence until a PING, and again until the connection counts as lost
RECONNECT_AFTER_S = 0.1
ERRORS = (RedisError, RedisClusterException, OSError)
# Until 5.3, redis-py wants a command's name with it, which it does not use; since then, none.
GET_CONNECTION = ("INCR",) if redis.__version__.startswith("5.2.") else ()

_log = logging.getLogger("headgate.resumable")


class RedisBroker(Broker):
    """A Redis as the broker of streams, by a client of redis-py.

    Subscriptions share one connection, which is opened again when it is lost: messages of the
    meantime are missing. `aclose` leaves the client open, and closes what is in `closing`.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        prefix: str = DEFAULT_PREFIX,
        closing: tuple[Redis | RedisCluster, ...] = (),
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._closing = closing
        self._turns = asyncio.Semaphore(COMMANDS)
        # Of each channel its callback, and whether Redis has confirmed it.
        self._channels: dict[bytes, tuple[Receive, asyncio.Event]] = {}
        self._connected: AbstractConnection | None = None
        self._receiving: asyncio.Task[None] | None = None

    @override
    async def publish(self, channel: str, message: str) -> None:
        name = self._name(channel)
        # By the node of the channel's slot: from several nodes, messages would overtake each other.
        await self._command("PUBLISH", name, message.encode(), at=name)

    @override
    async def subscribe(self, channel: str, receive: Receive) -> None:
        name, confirmed = self._name(channel), asyncio.Event()
        self._channels[name] = receive, confirmed
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                if self._receiving is None or self._receiving.done():
                    self._receiving = asyncio.create_task(self._receive())
                else:
                    await self._send("SUBSCRIBE", name)
                await confirmed.wait()
        except TimeoutError as error:
            raise Unavailable(f"{AWAY}: it confirms no subscription") from error
        finally:
            if not confirmed.is_set():
                self._channels.pop(name, None)

    @override
    async def unsubscribe(self, channel: str) -> None:
        self._channels.pop(self._name(channel), None)
        await self._send("UNSUBSCRIBE", self._name(channel))

    @override
    async def incr(self, key: str) -> int | None:
        try:
            return int(await self._in_turn(partial(self._send_once, "INCR", self._name(key))))
        except Unavailable as error:
            if "not an integer" in error.reason:
                return None
            raise

    @override
    async def set(self, key: str, value: str, ttl: float) -> None:
        await self._command("SET", self._name(key), value, "PX", max(1, round(ttl * 1000)))

    @override
    async def get(self, key: str) -> str | None:
        value = await self._command("GET", self._name(key))
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    @override
    async def expire(self, key: str, ttl: float) -> bool:
        return bool(await self._command("PEXPIRE", self._name(key), max(1, round(ttl * 1000))))

    @override
    async def aclose(self) -> None:
        self._channels.clear()
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
        for client in self._closing:
            await client.aclose()

    def _name(self, key: str) -> bytes:
        """Return a key or a channel as it is called in this Redis, whatever a client's encoding."""
        return (self._prefix + key.removeprefix(DEFAULT_PREFIX)).encode()

    async def _command(self, *words: str | bytes | int, at: bytes | None = None) -> Any:  # noqa: ANN401 - what Redis replies
        """Return the reply to a command, in a cluster from the node that has the slot of `at`."""

        async def reply() -> Any:  # noqa: ANN401 - what Redis replies
            options: dict[str, Any] = {}
            if at is not None and isinstance(self._client, RedisCluster):
                options["target_nodes"] = [await self._node_of(at)]
            return await self._client.execute_command(*words, **options)

        return await self._in_turn(reply)

    async def _in_turn(self, work: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - its result
        """Return the result of `work`; wait while COMMANDS are under way. Raises Unavailable."""
        try:
            async with asyncio.timeout(AT_MOST_S), self._turns:
                with _raised_cancellations():
                    return await work()
        except MasterNotFoundError as error:
            raise Unavailable(f"{AWAY}: {_words(error)}") from None  # a traceback has its text
        except ERRORS as error:
            raise Unavailable(f"{AWAY}: {_words(error)}") from error

    async def _send_once(self, *words: str | bytes) -> Any:  # noqa: ANN401 - what Redis replies
        """Send a command by a connection: a client would repeat it if the reply was lost."""
        if not isinstance(self._client, RedisCluster):
            pool = self._client.connection_pool
            connection = await pool.get_connection(*GET_CONNECTION)  # type: ignore[no-untyped-call]
            try:
                return await _reply(connection, words)
            finally:
                await pool.release(connection)
        node = await self._node_of(words[1])
        connection = node.acquire_connection()
        try:
            return await _reply(connection, words)
        except (MovedError, AskError):  # the node has not carried it out
            return await self._client.execute_command(*words, target_nodes=[node])
        except (redis.ConnectionError, redis.TimeoutError):
            with contextlib.suppress(*ERRORS):  # the client learns that the node is lost
                await self._client.execute_command("PING", target_nodes=[node])
            raise
        finally:
            getattr(node, "release", node._free.append)(connection)  # `release` is new in 6.0

    async def _node_of(self, key: str | bytes) -> ClusterNode:
        assert isinstance(self._client, RedisCluster)
        await self._client.initialize()
        node = self._client.get_node_from_key(key)  # type: ignore[arg-type]  # it takes bytes
        assert node is not None, "only replicas may be missing"
        return node

    async def _receive(self) -> None:
        while True:
            try:
                async with self._connection() as connection:
                    await self._receive_from(connection)
            except ERRORS as error:
                _log.info("the connection for messages was lost: %s", _words(error))
            finally:
                self._connected = None
            await asyncio.sleep(RECONNECT_AFTER_S)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AbstractConnection]:
        """Open a connection for messages: to any node of a cluster, which pass them on."""
        if not isinstance(self._client, RedisCluster):
            # A PubSub itself is not used: it reconnects by itself, in each task that uses it.
            async with self._client.pubsub() as pubsub:
                await pubsub.connect()
                yield pubsub.connection
            return
        await self._client.initialize()
        node = random.choice(self._client.get_primaries())  # noqa: S311 - no secret
        # If the node is lost, the client learns that, and looks for the others.
        await self._client.execute_command("PING", target_nodes=[node])
        connection = node.connection_class(**node.connection_kwargs)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            yield connection
        finally:
            await connection.disconnect(nowait=True)

    async def _receive_from(self, connection: AbstractConnection) -> None:
        self._connected = connection  # `subscribe` sends for later channels itself
        if self._channels:
            await connection.send_command("SUBSCRIBE", *self._channels, check_health=False)
        task, is_pinged = asyncio.current_task(), False
        while True:
            reply = await connection.read_response(
                disable_decoding=True,
                timeout=PING_S,
                disconnect_on_error=False,
                push_request=True,
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
                await connection.send_command("PING", check_health=False)

    def _dispatch(self, reply: object) -> None:
        match reply:
            case [b"message", bytes(name), bytes(data)] if name in self._channels:
                self._channels[name][0](data.decode(errors="replace"))
            case [b"subscribe", bytes(name), _] if name in self._channels:
                self._channels[name][1].set()

    async def _send(self, *command: str | bytes) -> None:
        """Send a command if the connection is open; a new connection subscribes to all channels."""
        if self._connected is not None and self._connected.is_connected:
            try:
                with _raised_cancellations():
                    await self._connected.send_command(*command, check_health=False)
            except Exception as error:  # noqa: BLE001 - of redis-py, when it is lost in between
                _log.debug("the connection for messages is lost: %s", error)


async def _reply(connection: AbstractConnection, words: tuple[str | bytes, ...]) -> Any:  # noqa: ANN401 - what Redis replies
    # By the newer protocol, redis-py gives out connections that Redis has closed.
    can_read: Callable[[], Awaitable[bool]] | None = getattr(connection, "can_read", None)
    if connection.is_connected and can_read is not None and await can_read():
        await connection.disconnect()
        await connection.connect()  # type: ignore[no-untyped-call]
    await connection.send_command(*words)
    return await connection.read_response()


def _words(error: Exception) -> str:
    """Return what an error says, without the clients of sentinels and, in older ones, passwords."""
    text = str(error)
    if isinstance(error, MasterNotFoundError):
        text = text.partition(" : ")[0]
    return text or type(error).__name__


def broker_at(url: RedisUrl) -> RedisBroker:
    """Return a broker with a client of its own, for the servers of a URL."""
    login: dict[str, Any] = {"username": url.username, "password": url.password}
    options: dict[str, Any] = {
        "ssl": url.tls,
        "socket_connect_timeout": ANSWER_WITHIN_S,
        "socket_timeout": ANSWER_WITHIN_S,
        # By the newer protocol, redis-py gives out connections that Redis has closed.
        "protocol": 2,
    }
    if url.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in url.nodes]
        cluster = RedisCluster(startup_nodes=nodes, **login, **options)
        return RedisBroker(cluster, url.prefix, (cluster,))
    options["retry"] = Retry(NoBackoff(), 0)  # what fails is an error at once
    if url.kind == "sentinel":
        sentinel_options = {
            **options,
            "username": url.sentinel_username,
            "password": url.sentinel_password,
            "socket_connect_timeout": SENTINEL_WITHIN_S,
            "socket_timeout": SENTINEL_WITHIN_S,
        }
        sentinels = Sentinel(  # type: ignore[no-untyped-call]
            url.nodes, sentinel_kwargs=sentinel_options, **login, **options
        )
        primary: Redis = sentinels.master_for(url.service, db=url.db)
        return RedisBroker(primary, url.prefix, (primary, *sentinels.sentinels))
    if url.kind == "unix":
        place: dict[str, Any] = {"unix_socket_path": url.path}
    else:
        (host, port), *_ = url.nodes
        place = {"host": host, "port": port}
    client = Redis(db=url.db, **place, **login, **options)
    return RedisBroker(client, url.prefix, (client,))


def check_client(client: object) -> None:
    """Raise TypeError if this is not a client of redis-py for asyncio that can write."""
    if isinstance(client, Pipeline | ClusterPipeline):
        raise TypeError("a pipeline collects commands: give the client that has made it")
    if isinstance(client, Redis | RedisCluster):
        pool = getattr(client, "connection_pool", None)
        if not getattr(pool, "is_master", True):
            raise TypeError("a replica takes no writes: give the client that `master_for` returns")
        return
    kind = type(client).__name__
    if isinstance(client, redis.Redis | redis.RedisCluster):
        raise TypeError(f"this {kind} is redis-py's for threads: give one of redis.asyncio")
    if isinstance(client, Sentinel):
        raise TypeError("give the client that `master_for` of this Sentinel returns")
    raise TypeError(
        f"a ResumableStreams takes the URL of a Redis or a client of redis.asyncio, not {kind}"
    )


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
