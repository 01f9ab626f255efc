"""A connection to a Redis server, and how it fails, in words for an operator.

redis-py makes the connection; replies are read as they come in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import hiredis
from redis import exceptions
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis.asyncio.connection import AbstractConnection

    Reply = Any  # from hiredis: bytes, int, None, Refusal, or a list of these
    Word = bytes | str | int | float
    Packed = tuple[bytes, ...]  # a command as it is sent, in pieces

# An event loop goes on reading while its buffer (256,000 bytes) is filled. A reply of many short
# words, such as a hundred thousand records, would all be parsed in one turn.
MUCH = 128 * 1024
# Commands are joined before they are sent, which costs less. A longer word is not copied for that,
# nor when it is packed: each copy of the longest append would hold up the event loop for 5 ms.
LONG = 64 * 1024

# redis-py turns some errors' codes into types.
CODES: dict[type[Exception], str] = {
    exceptions.ReadOnlyError: "READONLY",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
}
# How Redis refuses our calls after FUNCTION FLUSH, and our functions before they have a history.
_UNLOADED = ("Function not found", "NOHISTORY")
A_REPLICA = "this Redis is a replica, which takes no writes"
# The beginnings of what Redis says, and what that means here.
MEANINGS = {
    "OOM": "Redis is out of memory: raise maxmemory or remove streams",
    "READONLY": A_REPLICA,
    "LOADING": "Redis is loading its data",
    "MISCONF": "Redis cannot write its data to disk",
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write",
    "NOAUTH": "Redis asks for a password",
    "WRONGPASS": "Redis does not take the user name or password, or asks for one",
    "NOPERM": "the Redis user may not do what Headgate needs",
    "The user executing the script": "the Redis user may not do what Headgate needs",
    "CLUSTERDOWN": "the Redis cluster is down",
    "MASTERDOWN": "the Redis primary is down",
    "BUSY": "Redis is busy with a script of somebody else",
    "WRONGTYPE": "the key of this stream in Redis holds something else",
    "Redis Cluster cannot be connected": "no node of the cluster can be reached",
    "All slots are not covered": "no node of the cluster has some of the slots",
    "unknown command": "this Redis is older than 7.0, which has no functions",
}


class Refusal(Exception):
    """Redis answered a command with an error, which begins with its code."""

    @property
    def text(self) -> str:
        """The error as Redis wrote it."""
        return str(self.args[0])

    @property
    def code(self) -> str:
        """The first word of the error, in capitals by custom."""
        return self.text.partition(" ")[0]


class Unreachable(Exception):
    """No answer from the server.

    `was_sent` when the command may have been carried out, `is_passing` when it will soon be known
    where to send it.
    """

    def __init__(self, why: str, *, was_sent: bool = False, is_passing: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.was_sent = was_sent
        self.is_passing = is_passing


class RedisConnection(asyncio.Protocol):
    """A connection, taken over from redis-py once it is open, logged in and has its database.

    Commands are sent as bytes; `heard` gets the replies, and `lost` the end, in the same pass of
    the loop in which they arrive.
    """

    def __init__(
        self, heard: Callable[[list[Reply]], None], lost: Callable[[Exception | None], None]
    ) -> None:
        self._on_replies = heard
        self._lost = lost
        self._reader = hiredis.Reader(
            protocolError=ConnectionError, replyError=Refusal, notEnoughData=...
        )
        self._transport: Any = None
        self._writer: asyncio.StreamWriter | None = None
        self._loop = asyncio.get_running_loop()
        self.last_received_at = 0.0  # loop time of the last byte

    def adopt(self, connection: AbstractConnection) -> None:
        """Go on where redis-py has finished; nothing is on its way at that moment."""
        writer = connection._writer
        assert writer is not None, "redis-py has connected"
        # Else redis-py would close the transport when its connection is garbage-collected.
        connection._writer = connection._reader = None
        self._writer = writer  # held here: it closes the transport when it is garbage-collected
        transport: Any = writer.transport  # uvloop's class is no asyncio.Transport
        self._transport = transport
        transport.set_protocol(self)
        if transport.is_closing():
            self.connection_lost(None)

    @property
    def is_open(self) -> bool:
        """True while commands can be sent and replies read."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        if self._transport is None:
            return 0
        size: int = self._transport.get_write_buffer_size()
        return size

    def send(self, commands: Sequence[Packed]) -> None:
        """Send packed commands: one after the other, at once."""
        if self._transport is None:
            return
        for is_long, some in groupby(chain.from_iterable(commands), _is_long):
            if is_long:
                self._transport.writelines(some)
            else:
                self._transport.write(b"".join(some))

    def close(self) -> None:
        """Abort the connection; `lost` is called later."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        """Pass all complete replies to `heard`."""
        self.last_received_at = self._loop.time()
        replies: list[Reply] = []
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not ...:
                replies.append(reply)
        except ConnectionError:  # the bytes are no reply of a Redis
            self.close()
        if len(data) >= MUCH and self.is_open:
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)
        if replies:
            self._on_replies(replies)

    def _read_on(self) -> None:
        if self.is_open:
            self._transport.resume_reading()

    @override
    def connection_lost(self, error: Exception | None) -> None:
        """Call `lost`, once."""
        if self._transport is not None:
            self._transport = None
            self._lost(error)


def size_of(commands: Sequence[Packed]) -> int:
    """Return the number of bytes of packed commands."""
    return sum(map(len, chain.from_iterable(commands)))


def _is_long(piece: bytes) -> bool:
    return len(piece) > LONG


def pack(*words: Word) -> Packed:
    """Return a command as it is sent; a long word of bytes is a piece by itself, not copied."""
    for at, word in enumerate(words):
        if type(word) is bytes and _is_long(word):
            before = b"*%d\r\n%b$%d\r\n" % (len(words), _parts(words[:at]), len(word))
            return before, word, b"\r\n" + _parts(words[at + 1 :])
    return (_pack(words),)


def _parts(words: tuple[Word, ...]) -> bytes:
    """Return packed words without the count of words before them."""
    return _pack(words).partition(b"\r\n")[2]


def _pack(words: tuple[Word, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # the stub means any number
    return packed


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise failures of redis-py as ours."""
    try:
        yield
    except tuple(CODES) as error:
        code = next(code for kind, code in CODES.items() if isinstance(error, kind))
        raise Unreachable(explained(f"{code} {error}")) from error
    except (
        exceptions.RedisError,
        exceptions.RedisClusterException,  # which is no RedisError
        OSError,
        TimeoutError,
        RuntimeError,  # of uvloop, when the other side was faster
    ) as error:
        raise Unreachable(explained(words(error))) from error


def lacks_functions(refusal: str) -> bool:
    """Return whether a refused call needs a new connection, with which our functions are loaded."""
    return any(sign in refusal for sign in _UNLOADED)


def explained(text: str) -> str:
    """Return an error of Redis in words for an operator."""
    plain = text.removeprefix("ERR ")
    for beginning, meaning in MEANINGS.items():
        if plain.startswith(beginning):
            return f"{meaning} ({text})" if beginning == "NOPERM" else meaning
    return text


def words(error: Exception) -> str:
    """Return why redis-py failed, without the address: clients see these words too."""
    cause = error.__context__
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return "no answer in time"
    if isinstance(error, exceptions.ConnectionError) and isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return str(error) or type(error).__name__
