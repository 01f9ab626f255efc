"""A connection to a Redis server, and how it fails, in words for an operator."""

from __future__ import annotations

import asyncio
import os
import ssl
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import hiredis
from typing_extensions import override

from headgate_gateway.background import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Reply = Any  # from hiredis: bytes, int, None, Refusal, or a list of these
    Word = bytes | str | int | float
    Packed = tuple[bytes, ...]  # a command as it is sent, in pieces

# An event loop goes on reading while its buffer (256,000 bytes) is filled. A reply of many short
# words, such as a hundred thousand records, would all be parsed in one turn.
MUCH = 128 * 1024
# Commands are joined before they are sent, which costs less. A longer word is not copied for that,
# nor when it is packed: each copy of the longest append would hold up the event loop for 5 ms.
LONG = 64 * 1024
LOST = "the connection was lost"
A_REPLICA = "this Redis is a replica, which takes no writes"
UNREAD = "Redis takes no writes, and this stream was not read since Redis restarted or failed over"
# The beginnings of what Redis says, and what that means here.
MEANINGS = {
    "OOM": "Redis is out of memory: raise maxmemory or remove streams",
    "READONLY": A_REPLICA,
    "LOADING": "Redis is loading its data",
    "MISCONF": "Redis cannot write its data to disk",
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write",
    "UNSEEN": UNREAD,
    "NOAUTH": "Redis does not take the user name or password, or asks for one",
    "WRONGPASS": "Redis does not take the user name or password, or asks for one",
    "NOPERM": "the Redis user may not do what Headgate needs",
    "The user executing the script": "the Redis user may not do what Headgate needs",
    "CLUSTERDOWN": "the Redis cluster is down",
    "MASTERDOWN": "the Redis primary is down",
    "BUSY": "Redis is busy with a script of somebody else",
    "WRONGTYPE": "the key of this stream in Redis holds something else",
    "unknown command 'FUNCTION'": "this Redis is older than 7.0, which has no functions",
    "unknown command `FUNCTION`": "this Redis is older than 7.0, which has no functions",
}


class Refusal(Exception):
    """Redis answered a command with an error, which begins with its code."""

    @property
    def code(self) -> str:
        """The first word of the error, in capitals by custom."""
        return str(self).partition(" ")[0]

    @property
    def meaning(self) -> str:
        """The error in words for an operator."""
        plain = str(self).removeprefix("ERR ")
        for beginning, meaning in MEANINGS.items():
            if plain.startswith(beginning):
                return f"{meaning} ({plain})" if beginning == "NOPERM" else meaning
        return plain

    @property
    def takes_no_writes(self) -> bool:
        """True if the server refuses all that might write, for want of replicas or of its disk."""
        return self.code in {"NOREPLICAS", "MISCONF"}

    @property
    def lacks_functions(self) -> bool:
        """True if the call needs a new connection, with which our functions are loaded.

        Redis refuses it so after FUNCTION FLUSH, and our functions before they have a history.
        """
        return any(sign in str(self) for sign in ("Function not found", "NOHISTORY"))


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
    """A connection to a Redis server, taken over from redis-py once it is logged in.

    Its first commands are asked one by one; then it is started for its user.
    """

    def __init__(self) -> None:
        self._reader = hiredis.Reader(
            protocolError=ConnectionError, replyError=Refusal, notEnoughData=...
        )
        self._transport: Any = None  # uvloop's class is no asyncio.Transport
        self._writer: asyncio.StreamWriter | None = None  # closes it when garbage-collected
        self._loop = asyncio.get_running_loop()
        self._reply: asyncio.Future[Reply] | None = None
        self._on_replies: Callable[[list[Reply]], None] = self._on_first_reply
        self._on_lost: Callable[[Exception | None], None] = self._lost_early
        self.last_received_at = 0.0  # loop time of the last byte

    def take_over(self, writer: asyncio.StreamWriter) -> None:
        """Continue on the transport of a writer; all replies to what it sent have been read."""
        self._writer = writer
        writer.transport.set_protocol(self)
        self.connection_made(writer.transport)

    async def ask(self, *words: Word) -> Reply:
        """Return the reply to a command, before `start`. Raises Refusal and Unreachable."""
        if not self.is_open:
            raise Unreachable(LOST)
        self._reply = self._loop.create_future()
        self.send([pack(*words)])
        return await self._reply

    def _on_first_reply(self, replies: list[Reply]) -> None:
        if self._reply is not None:
            settle(self._reply, replies[0])

    def _lost_early(self, error: Exception | None) -> None:
        if self._reply is not None:
            settle(self._reply, Unreachable(words_for(error) if error else LOST))

    def start(
        self,
        on_replies: Callable[[list[Reply]], None],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        """Call `on_replies` from now on, and `on_lost` once, as soon as bytes or the end arrive."""
        self._on_replies = on_replies
        self._on_lost = on_lost
        if not self.is_open:
            self.connection_lost(None)

    @property
    def is_open(self) -> bool:
        """True while commands can be sent and replies read."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

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
        """Abort the connection; `on_lost` is called later."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
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
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._writer = None
        on_lost, self._on_lost = self._on_lost, lambda _: None
        on_lost(exc)


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


def words_for(error: Exception) -> str:
    """Return why a connection failed, without the address: clients see these words too."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or "TLS failed"
    if isinstance(error, OSError) and error.errno:
        # Errors of the resolver have numbers of their own, which are negative.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    # Several addresses failed, of which the text would tell.
    return "no connection can be made" if isinstance(error, OSError) else str(error)
