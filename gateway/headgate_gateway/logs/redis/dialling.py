"""Open connections by redis-py, and take them over once they are logged in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from headgate_gateway.logs.redis.connection import LOST, RedisConnection, Refusal, words_for

if TYPE_CHECKING:
    from asyncio import StreamWriter
    from ssl import SSLContext

    from redis.asyncio.connection import AbstractConnection

OPTIONS: dict[str, Any] = {
    "client_name": "headgate",
    # CLIENT SETINFO would be refused, and each refusal noted, where a user may do what Headgate's
    # documentation says, and no more.
    "driver_info": None,
    "protocol": 2,  # what our pipelines read
    "retry": Retry(NoBackoff(), 0),  # the caller decides about the next attempt
    # The caller bounds dialling, login and its first questions together. redis-py would bound each
    # by `wait_for`, which misses some cancellations before Python 3.12.
    "socket_timeout": None,
    "socket_connect_timeout": None,
}


def to_socket(path: str, login: dict[str, Any]) -> AbstractConnection:
    """Return a connection that is not open yet, by the socket of a server."""
    return UnixDomainSocketConnection(path=path, **login, **OPTIONS)


def to_server(
    address: tuple[str, int], tls: SSLContext | None, login: dict[str, Any]
) -> AbstractConnection:
    """Return a connection that is not open yet, encrypted by `tls` if there is one."""
    host, port = address
    if tls is None:
        return Connection(host=host, port=port, **login, **OPTIONS)
    connection = SSLConnection(host=host, port=port, **login, **OPTIONS)
    # The context that it makes would trust the authorities of the system besides those in `tls_ca`.
    connection.ssl_context.context = tls
    return connection


async def open_connection(connection: AbstractConnection) -> RedisConnection:
    """Dial and log in by redis-py, and return a connection of ours with its transport.

    Abort the transport on failure. This is the only function that uses private names of redis-py.
    Raises RedisError, OSError, and uvloop's RuntimeError if the server was faster.
    """
    writer: StreamWriter | None = None

    async def log_in(connection: AbstractConnection) -> None:
        nonlocal writer
        # When it fails, redis-py closes the transport, which over TLS waits for the server's
        # answer, and forgets it.
        writer = connection._writer
        await connection.on_connect()

    connection.redis_connect_func = log_in
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # of redis-py
    except BaseException:
        if writer is not None:
            writer.transport.abort()
        raise
    assert writer is not None, "redis-py has logged in"
    # Else redis-py would close the transport when its connection is garbage-collected.
    connection._reader = connection._writer = None
    ours = RedisConnection()
    ours.take_over(writer)
    return ours


def reason_of(error: Exception) -> str:
    """Return why redis-py could not open a connection, without the address."""
    while isinstance(error, RedisError) and (cause := _cause_of(error)) is not None:
        error = cause
    if not isinstance(error, RedisError):
        return words_for(error)
    if error.status_code:  # which redis-py has cut off
        return Refusal(f"{error.status_code} {error}").meaning
    return Refusal(str(error)).meaning if isinstance(error, ResponseError) else LOST


def _cause_of(error: RedisError) -> Exception | None:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return cause if isinstance(cause, Exception) else None
