"""The text that a source gives, checked chunk by chunk."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeGuard

from headgate.error_text import sendable

if TYPE_CHECKING:
    from headgate.resumable.contract import MakeSource


async def text_of(make_source: MakeSource) -> AsyncGenerator[str, None]:
    """The chunks of a source, but for empty ones. Raises what the source raises.

    Raises TypeError for what gives no str, and ValueError for a str that UTF-8 cannot carry.
    """
    async with contextlib.aclosing(_iterated(make_source())) as chunks:
        async for chunk in chunks:
            if _checked(chunk):
                yield chunk


async def _iterated(made: object) -> AsyncGenerator[object, None]:
    if isinstance(made, AsyncIterable):
        iterator = aiter(made)
        try:
            async for chunk in iterator:
                yield chunk
        finally:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
    elif isinstance(made, Iterable) and not isinstance(made, str | bytes | Mapping):
        for chunk in made:
            yield chunk
            await asyncio.sleep(0)  # other streams have their turn
    else:
        if inspect.iscoroutine(made):
            made.close()
        raise TypeError(
            "make_source must give an (async) iterable of str when it is called, "
            f"not {_named(made)}"
        )


def _checked(chunk: object) -> TypeGuard[str]:
    """Whether it is text, and any."""
    if not isinstance(chunk, str):
        raise TypeError(f"a source must give str, not {_named(chunk)}")
    if not chunk.isascii():
        try:
            chunk.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                "a source gave half of a surrogate pair, which is no character"
            ) from error
    return bool(chunk)


def told(stream_id: str, error: Exception) -> str:
    """The error of a source for its readers, in a few words that can be sent."""
    return f"stream {stream_id!r} failed: {sendable(f'{type(error).__name__}: {error}')}"


def _named(value: object) -> str:
    return f"an object of type {type(value).__name__}"
