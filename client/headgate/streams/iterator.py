"""An iterator over what is read of a stream, which closes its request when it is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from headgate.endpoint import start_task
from headgate.errors import StreamError
from headgate.misuse import refusing_method

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

T = TypeVar("T")


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
        try:
            part = await self._next
        except asyncio.CancelledError:
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
        await asyncio.shield(self._closing)

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
