"""A stream of a client, to which messages are appended, and which is read and followed."""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate import following
from headgate.errors import ABSENT, Closed, Unavailable, check_number
from headgate.following import FIRST_WAIT_S, LONGEST_WAIT_S
from headgate.names import BEGINNING, NOW, shown
from headgate.retries import Retries
from headgate.sending.framing import MAX_BATCH_BYTES, Framing
from headgate.streams.messages import Decoder, place_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate.following import Batch
    from headgate.stream_requests import Metadata, StreamRequests
    from headgate.streams.connection import ClientConnections
    from headgate.streams.messages import Message, StreamIterator

log = logging.getLogger("headgate")

BYTES = bytes | bytearray | memoryview


class Stream:
    """A stream of a `Client`.

    ```python
    orders = await client.create("orders", json=True)
    await orders.append({"id": 1})
    async for order in orders.follow():
        print(order.value)
    ```

    Attributes:
        name: The path of the stream below the base URL, or its whole URL, as the client got it.
        url: The URL of the stream.
    """

    def __init__(self, connection: ClientConnections, url: str, name: str) -> None:
        """Use `Client.stream`, `create` or `open`."""
        self._connection = connection
        self.name = name
        self.url = url
        self._metadata: Metadata | None = None

    @override
    def __repr__(self) -> str:
        return f"Stream({shown(self.url)!r})"

    async def head(self) -> Metadata:
        """Return the metadata of the stream: its content type, its tail and its end.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream was deleted or has expired.
        """
        self._metadata = await self._connection.waits().run(self._requests().head)
        return self._metadata

    async def append(self, message: object) -> str | None:
        """Append one message, and wait until it is stored.

        Args:
            message: In a JSON stream a dict, list, number, bool or None, or bytes that are JSON
                text; in a stream of text a str; in any stream bytes.

        Returns:
            The offset after the message; None if an earlier response with it was lost.

        Raises:
            TypeError: The stream cannot hold a message of this type.
            ValueError: The message has no encoding, or is empty.
            Closed: The stream is closed.
            TooLarge: The message is larger than the server takes.
            Unavailable: The server is away. It is not known whether the message is stored, except
                where it `is_unsent`. It is never stored twice, nor after a later one.
        """
        return await self.append_many((message,))

    async def append_many(self, messages: Iterable[object]) -> str | None:
        """Append messages in as few requests as they need, and wait until all are stored.

        Args:
            messages: As of `append`. All are encoded before the first is sent.

        Returns:
            The offset after the last one; None without messages.

        Raises:
            StreamError: As of `append`: the messages of earlier requests are stored.
        """
        all_messages, offset = _as_list(messages), None
        producer = self._connection.producer(self.url)
        async with producer.turn:  # requests for the type keep the order of the calls, too
            framing, chunks = await self._encode(all_messages)
            for part in _parts(chunks):
                # Without multi-appends, only JSON has messages: bytes are appended as one.
                body, headers = framing.batch(part if framing.takes_batches else [b"".join(part)])
                appended = await producer.append(
                    body, content_type=framing.content_type, headers=headers, is_closing=False
                )
                offset = appended.next_offset
        return offset

    async def _encode(self, messages: list[object]) -> tuple[Framing, list[bytes]]:
        """Return the form of the stream's appends, and the bytes of the messages in it."""
        if self._metadata is not None:
            with contextlib.suppress(TypeError, ValueError):  # of another stream at the URL before
                return _framed(shown(self.url), self._metadata, messages)
        return _framed(shown(self.url), await self.head(), messages)

    async def close(self) -> str | None:
        """Close the stream: it takes no more messages, and its readers come to the end.

        A stream that is closed already stays closed.

        Returns:
            The final offset.
        """
        producer = self._connection.producer(self.url)
        try:
            async with producer.turn:
                appended = await producer.append(b"", content_type="", headers={}, is_closing=True)
                return appended.next_offset
        except Closed:
            return (await self.head()).next_offset

    async def delete(self) -> bool:
        """Delete the stream and all its data; return False if there was none."""
        try:
            await self._connection.waits().run(self._requests().delete)
        except ABSENT:
            return False
        return True

    def read(self, offset: str | Message = BEGINNING) -> StreamIterator[Message]:
        """Return the messages from a place to the current tail.

        Args:
            offset: The offset of a message, or the message itself, to continue after; `-1` for the
                beginning.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream, or what is at the offset, is gone.
            ProtocolError: What is in a JSON stream is not JSON.
        """
        return self._connection.reading(self.url, self._read(*place_of(offset)))

    def tail(self, count: int) -> StreamIterator[Message]:
        """Return the last messages of a stream, which is read from its beginning.

        Args:
            count: How many messages at most; of a stream that has no messages, parts as they come.
        """
        check_number("count", count, 1, is_whole=True)
        return self._connection.reading(self.url, self._tail(count))

    def follow(self, offset: str | Message = BEGINNING) -> StreamIterator[Message]:
        """Return the messages from a place on until the stream is closed, as they are appended.

        Lost connections are made again, for as long as it takes, and no message comes twice.

        Args:
            offset: The offset of a message, or the message itself, to continue after; `-1` for the
                beginning, `now` for what is appended from now on.

        Raises:
            StreamNotFound: There is no such stream.
            Gone: The stream was deleted or has expired meanwhile.
            ProtocolError: What is in a JSON stream is not JSON.
        """
        return self._connection.reading(self.url, self._follow(*place_of(offset)))

    def follow_bytes(self, offset: str = BEGINNING) -> StreamIterator[Batch]:
        """Return the batches of the server's responses until the stream is closed, as they come.

        Args:
            offset: The offset to begin at, of an earlier batch; `-1` for the beginning, `now`
                for the current tail.
        """
        return self._connection.reading(self.url, self._follow_bytes(offset))

    async def _create(self, content_type: str, ttl_s: int | None) -> None:
        requests = self._requests()
        self._metadata = await self._connection.waits().run(
            lambda: requests.create(content_type=content_type, ttl_s=ttl_s)
        )

    def _requests(self) -> StreamRequests:
        return self._connection.requests(self.url)

    async def _read(self, begin: str, passed: int) -> AsyncGenerator[list[Message]]:
        decoder: Decoder | None = None
        retries = self._connection.waits()
        is_at_tail = False
        while not is_at_tail:
            try:
                async with aclosing(following.catch_up(self._requests(), begin)) as batches:
                    async for content_type, batch in batches:
                        retries.succeed()
                        decoder = decoder or Decoder(content_type, passed, self.url)
                        # The tail is not the end: half a character there may become whole.
                        if part := decoder.messages(begin, replace(batch, is_last=False)):
                            yield part
                        begin, is_at_tail = batch.offset, batch.is_last
            except Unavailable as refusal:
                await retries.wait(refusal)

    async def _tail(self, count: int) -> AsyncGenerator[list[Message]]:
        last: deque[Message] = deque(maxlen=count)
        async with aclosing(self._read(BEGINNING, 0)) as parts:
            async for part in parts:
                last.extend(part)
        yield list(last)

    async def _follow(self, begin: str, passed: int) -> AsyncGenerator[list[Message]]:
        metadata = self._metadata
        # Responses of server-sent events do not name the type of the stream.
        if metadata is None or begin == NOW:
            metadata = await self._waited_head()
        begin = metadata.next_offset if begin == NOW else begin
        decoder = Decoder(metadata.content_type, passed, self.url)
        async with aclosing(self._follow_bytes(begin)) as parts:
            async for (batch,) in parts:
                if part := decoder.messages(begin, batch):
                    yield part
                begin = batch.offset

    async def _waited_head(self) -> Metadata:
        """Return the metadata as soon as the server answers."""
        retries = Retries(math.inf, (FIRST_WAIT_S, LONGEST_WAIT_S), log.info)
        self._metadata = await retries.run(self._requests().head)
        return self._metadata

    async def _follow_bytes(self, offset: str) -> AsyncGenerator[list[Batch]]:
        async with aclosing(following.follow(self._requests(), offset)) as batches:
            async for batch in batches:
                yield [batch]


def _as_list(messages: object) -> list[object]:
    """Return messages as a list. Raises TypeError for a single message."""
    if isinstance(messages, dict | str | bytes):
        raise TypeError("append_many takes several messages, such as a list; append takes one")
    if isinstance(messages, AsyncIterator) or not isinstance(messages, Iterable):
        kind = type(messages).__name__
        raise TypeError(f"append_many takes a list of messages, not {kind}: collect it first")
    return list(messages)


def _framed(
    shown_url: str, metadata: Metadata, messages: list[object]
) -> tuple[Framing, list[bytes]]:
    framing = Framing(metadata.content_type, takes_multi=metadata.takes_multi)
    return framing, [_encoded(shown_url, framing, message) for message in messages]


def _encoded(shown_url: str, framing: Framing, message: object) -> bytes:
    """Return a message as bytes. Raises TypeError or ValueError, which say what to give."""
    kind = type(message).__name__
    if isinstance(message, Iterator | AsyncIterator):
        raise TypeError(
            f"{shown_url}: append takes one message, not {kind}: append_many takes a list"
        )
    is_text = framing.content_type.startswith("text/")
    if framing.is_json and isinstance(message, str):
        raise TypeError(
            f"{shown_url} is a JSON stream: append the value itself, not its text; "
            "a message that is a string is appended as bytes of JSON"
        )
    if not (framing.is_json or isinstance(message, BYTES | str if is_text else BYTES)):
        raise TypeError(
            f"{shown_url} is a stream of {framing.content_type}: append "
            f"{'str or bytes' if is_text else 'bytes'}, not {kind}, or create it with json=True"
        )
    data = framing.encode(message)
    if not data:
        raise ValueError(f"{shown_url}: an empty message cannot be appended")
    return data


def _parts(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield chunks that go into one request together; one that is longer goes alone."""
    part: list[bytes] = []
    size = 0
    for chunk in chunks:
        if part and size + len(chunk) > MAX_BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(chunk)
        size += len(chunk)
    if part:
        yield part
