"""The text that a source gives, checked chunk by chunk."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeGuard

from headgate.error_text import told

if TYPE_CHECKING:
    from headgate.resumable.contract import ErrorText, MakeSource


_log = logging.getLogger("headgate.resumable")


class NoText(Exception):
    """A source gave what is no text; its words say so, and nothing of what it gave."""


class _WrongType(NoText, TypeError):
    pass


class _WrongText(NoText, ValueError):
    pass


async def text_of(make_source: MakeSource) -> AsyncGenerator[str, None]:
    """Yield the chunks of a source but for empty ones; raise what the source raises.

    Raises NoText, which is a TypeError too for what gives no str, and a ValueError for a str that
    UTF-8 cannot carry.
    """
    async with contextlib.aclosing(_iterated(make_source())) as chunks:
        async for chunk in chunks:
            if _checked(chunk):
                yield chunk


async def _iterated(items: object) -> AsyncGenerator[object, None]:
    if isinstance(items, AsyncIterable):
        iterator = aiter(items)
        try:
            async for chunk in iterator:
                yield chunk
        finally:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
    elif isinstance(items, Iterable) and not isinstance(items, str | bytes | Mapping):
        for chunk in items:
            yield chunk
            await asyncio.sleep(0)  # other streams have their turn
    else:
        if inspect.iscoroutine(items):
            items.close()
        raise _WrongType(
            "make_source must give an (async) iterable of str when it is called, "
            f"not {_named(items)}"
        )


def _checked(chunk: object) -> TypeGuard[str]:
    """Return whether the chunk is text that is not empty; raise for what is no text."""
    if not isinstance(chunk, str):
        raise _WrongType(f"a source must give str, not {_named(chunk)}")
    if not chunk.isascii():
        try:
            chunk.encode()
        except UnicodeEncodeError as error:
            raise _WrongText(
                "a source gave half of a surrogate pair, which is no character"
            ) from error
    return bool(chunk)


def class_name(error: Exception) -> str:
    """Return the error's class name, as the default `error_text`: messages may hold secrets."""
    return type(error).__name__


def failed(error_text: ErrorText, stream_id: str, error: Exception) -> str:
    """Return the readers' text for an error that ended a source; log the whole error."""
    _log.warning("the source of stream %r failed", stream_id, exc_info=error)
    is_ours = isinstance(error, NoText)
    words = str(error) if is_ours else told(error, error_text, class_name, _log)
    return f"stream {stream_id!r} failed: {words}"


def _named(value: object) -> str:
    return f"an object of type {type(value).__name__}"
