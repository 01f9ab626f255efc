"""The text that a source gives, checked chunk by chunk."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING

from headgate.errors import safe_error_text

if TYPE_CHECKING:
    from headgate.resumable.contract import ErrorText, MakeSource

_log = logging.getLogger("headgate.resumable")


class NoText(TypeError):
    """A source gave something else than text; the message has its type, and not its value."""


async def text_of(make_source: MakeSource) -> AsyncGenerator[str, None]:
    """Yield the chunks of a source but for empty ones. Raises NoText, or what the source raises."""
    items = make_source()
    chunks = aiter(items) if isinstance(items, AsyncIterable) else _in_turns(items)
    try:
        async for chunk in chunks:
            if _is_text(chunk):
                yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


async def _in_turns(items: object) -> AsyncGenerator[str, None]:
    if not isinstance(items, Iterable) or isinstance(items, str | bytes | Mapping):
        if inspect.iscoroutine(items):
            items.close()
        raise NoText(
            "make_source must give an (async) iterable of str when it is called, "
            f"not {_named(items)}"
        )
    for chunk in items:
        yield chunk
        await asyncio.sleep(0)  # other streams have their turn


def _is_text(chunk: object) -> bool:
    """Return whether the chunk is text that is not empty. Raises NoText for anything else."""
    if not isinstance(chunk, str):
        raise NoText(f"a source must give str, not {_named(chunk)}")
    try:
        return bool(chunk if chunk.isascii() else chunk.encode())
    except UnicodeEncodeError as error:
        raise NoText("a source gave half of a surrogate pair, which is no character") from error


def class_name(error: Exception) -> str:
    """Return the error's class name, as the default `error_text`: messages may hold secrets."""
    return type(error).__name__


def failed(error_text: ErrorText, stream_id: str, error: Exception) -> str:
    """Return the readers' text for an error that ended a source; log the whole error."""
    _log.warning("the source of stream %r failed", stream_id, exc_info=error)
    is_ours = isinstance(error, NoText)
    words = str(error) if is_ours else safe_error_text(error, error_text, class_name, _log)
    return f"stream {stream_id!r} failed: {words}"


def _named(value: object) -> str:
    return f"an object of type {type(value).__name__}"
