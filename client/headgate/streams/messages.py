"""The messages of a stream: decoded by its content type, and iterated over.

The protocol has an offset after each response, and none between the messages of one. A place within
a response is written `OFFSET,COUNT`: the offset at which the response began, and how many of its
messages, or bytes of text, come before the place. No offset has a comma (PROTOCOL.md section 6).
The beginning, `-1`, may move, so a response from there is counted from the offset that a Headgate
with its own log names for it; before other servers the place is the beginning itself.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import msgspec

from headgate.endpoint import start_task
from headgate.errors import ProtocolError, StreamError
from headgate.json_values import NOT_JSON, decoded_json
from headgate.misuse import refusing_method
from headgate.names import BEGINNING, NOW, shown
from headgate.sending.framing import is_json, media_type
from headgate.shielding import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate.following import Batch

T = TypeVar("T")
_ARRAY = msgspec.json.Decoder(list[Any])


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a stream.

    Attributes:
        value: A JSON value, a str of a stream of text, or bytes.
        offset: The place to continue at after this message. Where the server does not name the
            beginning, it is `-1` before the end of the first response: then the message comes
            again, and is not lost.
    """

    value: Any
    offset: str


def place_of(offset: str | Message) -> tuple[str, int]:
    """Return an offset of the server, and how many messages or bytes of text after it are read.

    Raises TypeError or ValueError for what is not the place of a message.
    """
    text = offset.offset if isinstance(offset, Message) else offset
    if not isinstance(text, str):
        raise TypeError(
            "an offset is a str, or the message to continue after, not "
            f"{type(text).__name__}: begin at {BEGINNING!r}, or at {NOW!r} for what is new"
        )
    at, comma, count = text.partition(",")
    if not at or (comma and not (count.isascii() and count.isdecimal())):
        raise ValueError(f"{text[:80]!r} is not an offset of a message, {BEGINNING!r} or {NOW!r}")
    return at, int(count or 0)


class Decoder:
    """A decoder of the batches of one reading, which come in their order, to messages.

    The batches of a JSON stream are arrays of values. Text comes as it comes, and a character that
    is cut is joined. The bytes of any other stream come as they come. So many messages or bytes
    are `passed` over.
    """

    def __init__(self, content_type: str, passed: int, url: str) -> None:
        self._is_json = is_json(content_type)
        is_text = media_type(content_type).startswith("text/")
        self._text = codecs.getincrementaldecoder("utf-8")("replace") if is_text else None
        self._passed = passed
        self._url = url

    def messages(self, begin: str, batch: Batch) -> list[Message]:
        """Return the messages of a batch that begins at an offset. Raises ProtocolError."""
        after = batch.offset
        if begin == BEGINNING:
            begin = batch.start or begin
        if self._is_json:
            values = self._values(begin, batch)
            passed = self._pass(len(values))
            last = len(values)
            return [
                Message(value, after if number == last else _within(begin, number))
                for number, value in enumerate(values[passed:], passed + 1)
            ]
        data = b"".join(batch.bodies)
        part = data[self._pass(len(data)) :]
        if self._text is None:
            return [Message(part, after)] if part else []
        text = self._text.decode(part, final=batch.is_last)
        if cut := len(self._text.getstate()[0]):
            after = _within(begin, len(data) - cut)
        return [Message(text, after)] if text else []

    def _pass(self, count: int) -> int:
        """Return how many of so many messages or bytes are passed over."""
        passed, self._passed = self._passed, max(0, self._passed - count)
        return passed

    def _values(self, begin: str, batch: Batch) -> list[Any]:
        values: list[Any] = []
        try:
            for body in batch.bodies:
                values += decoded_json(body, _ARRAY.decode)
        except NOT_JSON as cause:
            raise ProtocolError(
                f"what comes after offset {begin} is not JSON: read on after it, or read the "
                f"bytes with follow_bytes ({cause})",
                stream=shown(self._url),
                offset=begin,
            ) from cause
        return values


def _cancellations() -> int:
    """Return how often somebody has cancelled this task."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _within(begin: str, count: int) -> str:
    """Return the place in a batch: its beginning where the beginning of the stream may move."""
    return begin if begin == BEGINNING else f"{begin},{count}"


class StreamIterator(Generic[T]):
    """An iterator over the messages of a stream, or its batches.

    ```python
    async for order in orders.follow():
        ...
    ```

    A loop that ends early (`break`, `return`, an exception) closes the request in the next turn of
    the event loop. A reading that is kept is closed by `aclose`, at the end of an `async with`, and
    with its client: then a loop that reads on gets a StreamError, as more may come in the stream.
    """

    def __init__(self, parts: AsyncGenerator[list[T]], shown: str) -> None:
        """`parts` come together, and `shown` is the stream in an error."""
        self._parts = parts
        self._shown = shown
        self._ready: deque[T] = deque()
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Task[list[T]] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_over = False  # the end was reached, or an error
        self._is_closed = False  # before that

    def __aiter__(self) -> Self:
        return self

    if not TYPE_CHECKING:
        __iter__ = refusing_method(
            "the messages come one by one: write async for, or use headgate.sync"
        )
        __await__ = refusing_method(
            "the messages come one by one: write async for in place of await"
        )

    async def __anext__(self) -> T:
        if not self._ready:
            self._ready.extend(await self._next_part())
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()

    async def _next_part(self) -> list[T]:
        """Return what comes next, all that comes together; nothing at the end."""
        if self._is_over:
            return []
        self._check_open()
        # In a task of its own, so that `aclose` can end it.
        if self._next is not None:
            raise RuntimeError("another task reads on here: give each its own reading")
        self._next = self._loop.create_task(anext(self._parts, []))
        before = _cancellations()
        try:
            part = await self._next
        except asyncio.CancelledError:
            if _cancellations() == before:  # then `aclose` has cancelled `_next` alone
                self._check_open()
            self._is_closed = True  # what was waited for has been cancelled, too
            raise
        except BaseException:
            self._is_over = True
            raise
        finally:
            self._next = None
        self._check_open()  # it may have been closed after this part had come
        self._is_over = not part
        return part

    def _check_open(self) -> None:
        if self._is_closed:
            raise StreamError("the reading was closed", stream=self._shown) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the request; nothing more comes."""
        self._stop()
        if self._closing is None:  # a client and a block may both close it
            self._closing = self._loop.create_task(self._close())
        await shielded(self._closing)

    def _stop(self) -> None:
        """Cancel what is waited for, so that it makes no more requests."""
        self._is_closed = True
        self._ready.clear()
        if self._next is not None:
            self._next.cancel()

    async def _close(self) -> None:
        if self._next is not None:
            await asyncio.wait([self._next])
        await self._parts.aclose()

    def __del__(self) -> None:
        if not (self._is_over or self._is_closed or self._loop.is_closed()):
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                start_task(self._parts.aclose, self._loop)
