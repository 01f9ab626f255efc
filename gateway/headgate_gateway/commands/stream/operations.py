"""The operations of the commands on one stream."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from headgate.errors import BadRequest, StreamError, StreamNotFound
from headgate.following import catch_up, follow, long_poll, sse
from headgate.names import BEGINNING, NOW
from headgate_gateway.commands.stream.append import begun, closed, leading_to
from headgate_gateway.commands.stream.offset_file import OffsetFile
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.shell import input as stdin
from headgate_gateway.tools.shell.amounts import byte_size
from headgate_gateway.tools.shell.failure import Failed
from headgate_gateway.tools.shell.output import (
    cancelled_when_closed,
    finish,
    lines,
    may_be_seen,
    note,
    wants_lines,
    write,
)
from headgate_gateway.tools.shell.patience import backoff, tell
from headgate_gateway.tools.shell.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from headgate.stream_requests import StreamRequests
    from headgate_gateway.commands.stream.append import CommandProducer
    from headgate_gateway.tools.server.target import StreamTarget

    # Where an offset that is refused came from, and what to do.
    Hint = Callable[[StreamError], str]

T = TypeVar("T")

# What the beginning and the tail are called at other logs, and how it is written here.
OFFSETS_ELSEWHERE = {
    **dict.fromkeys(("latest", "newest", "last", "end", "tail", "$"), f"{NOW}, which is the tail"),
    **dict.fromkeys(
        ("earliest", "oldest", "first", "beginning", "start", "0"),
        f"{BEGINNING}, which is the beginning",
    ),
}
# How servers answer to an offset that they never gave out, or that is of an earlier stream.
BAD_OFFSET = {400, 410}


async def create(
    target: StreamTarget,
    headers: Mapping[str, str],
    data: str | None,
    source: StreamTarget | None,
    *,
    as_json: bool,
) -> None:
    """Create the stream with this configuration and perhaps first data."""
    body = None if data is None else await _data(data)
    try:
        async with connect(target) as stream:
            await _create(stream, headers, body, as_json=as_json)
    except StreamError as refusal:
        fork_offset = headers.get("Stream-Fork-Offset")
        if fork_offset is not None and refusal.status in BAD_OFFSET:
            raise Failed(f"{refusal}; --fork-offset was {fork_offset}") from refusal
        if source is None or refusal.status != 404:
            raise
        # It is the source that is missing: the fork is only about to be made.
        raise Failed(f"{refusal}; --fork-from was {source.shown}") from refusal


async def _create(
    stream: StreamRequests, headers: Mapping[str, str], body: bytes | None, *, as_json: bool
) -> None:
    made = await stream.create(headers=headers, body=body)
    closed = ", closed" if made.is_closed else ""
    what = f"{stream.shown} ({made.content_type or 'of no content type'}{closed})"
    done = f"Created {what}" if made.is_new else f"{what} is there already"
    result = {
        "url": stream.shown,
        "is_new": made.is_new,
        "content_type": made.content_type or None,
        "next_offset": made.next_offset,
        "closed": made.is_closed,
    }
    finish(f"{done}; next offset {made.next_offset}.", result if as_json else None)


async def append(
    target: StreamTarget,
    headers: Mapping[str, str],
    producer: CommandProducer | None,
    data: str | None,
    *,
    close: bool,
    as_json: bool,
) -> None:
    """Append the data, or all of stdin, in one request."""
    body = await _data("-" if data is None else data)
    if not body and not close:
        raise Failed("nothing to append: give --data or stdin")
    async with connect(target) as stream:
        session = await begun(stream, headers, producer)
        await session.append(body, is_closing=close)
    done = ("Already appended" if session.known else "Appended") if body else "Closed"
    sentence = f"{done}{' and closed' if body and close else ''}{leading_to(session.offset)}."
    result = {
        "url": target.shown,
        "is_duplicate": bool(session.known),
        "next_offset": session.offset or None,
        "closed": close,
    }
    finish(sentence, result if as_json else None)


async def read(
    target: StreamTarget, offset: str | None, offset_file: Path | None, *, as_lines: bool | None
) -> None:
    """Print from the offset to the tail; note or store the offset at which the next read begins."""
    place = None if offset_file is None else OffsetFile(offset_file)
    offset, hint = _begin(offset, place)
    progress, printed = Progress(beside_data=may_be_seen()), 0

    def so_far() -> str:
        return f"{byte_size(printed)} read"

    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(connect(target))
        stack.callback(progress.clear)
        batches = catch_up(
            stream,
            "-1" if offset is None else offset,
            in_parts=lambda content_type: not wants_lines(content_type, as_lines=as_lines),
        )
        async with aclosing(_explained(batches, hint)) as explained:
            async for content_type, batch in explained:
                by_line = wants_lines(content_type, as_lines=as_lines)
                for body in batch.bodies:
                    write(lines(body) if by_line else body)
                    printed += len(body)
                progress.show(so_far)
                offset = batch.offset
                # Only what has been printed is never asked for again.
                if place is not None:
                    place.save(offset)
    if place is None:
        note(f"next offset: {offset}")


async def tail(
    target: StreamTarget,
    offset: str | None,
    offset_file: Path | None,
    *,
    by_poll: bool,
    as_lines: bool | None,
) -> None:
    """Print new data until the stream is closed, or until the reader of stdout has ended.

    The offset in the file takes precedence over `offset`.
    """
    place = None if offset_file is None else OffsetFile(offset_file)
    offset, hint = _begin(offset, place)
    with cancelled_when_closed():
        async with connect(target) as stream:
            # Its answer tells a wrong name from a passing fault, and where "now" is.
            metadata = await stream.head()
            by_line = wants_lines(metadata.content_type, as_lines=as_lines)
            begin = metadata.next_offset if offset is None else offset
            if place is not None:  # else a run that is ended before any news would lose them
                place.save(begin)
            live = long_poll if by_poll else sse
            batches = follow(stream, begin, live, backoff=backoff(), note=tell)
            async with aclosing(_explained(batches, hint)) as explained:
                async for batch in explained:
                    for body in batch.bodies:
                        write(lines(body) if by_line else body)
                    # Also after a batch without data, whose offset may be a later one.
                    if place is not None:
                        place.save(batch.offset)


async def _explained(batches: AsyncGenerator[T], hint: Hint | None) -> AsyncGenerator[T]:
    """Yield the batches; if the first is refused for its offset, add where that came from."""
    has_begun = False
    try:
        # Closed from the outside in: the end of the loop would close them all at once.
        async with aclosing(batches):
            async for batch in batches:
                has_begun = True
                yield batch
    except StreamError as refusal:
        if has_begun or hint is None or refusal.status not in BAD_OFFSET:
            raise
        raise Failed(f"{refusal}; {hint(refusal)}") from refusal


def _begin(offset: str | None, place: OffsetFile | None) -> tuple[str | None, Hint | None]:
    """Return the offset to begin at, that of the file first, and what to say if it is refused."""
    loaded = None if place is None else place.load()
    if place is not None and loaded is not None:
        return loaded, place.hint
    return offset, None if offset is None else partial(_option_hint, offset)


def _option_hint(offset: str, refusal: StreamError) -> str:
    """Return where a refused offset came from, with its value if the refusal does not have it.

    For a word of another log, such as latest, the hint has the offset to write.
    """
    has_value = isinstance(refusal, BadRequest) and offset not in {BEGINNING, NOW}
    source = "it is that of --offset" if has_value else f"--offset was {offset or 'empty'}"
    place = OFFSETS_ELSEWHERE.get(offset.lower()) if isinstance(refusal, BadRequest) else None
    return source if place is None else f"{source}: write {place}"


async def close(target: StreamTarget, *, as_json: bool) -> None:
    """Close the stream."""
    async with connect(target) as stream:
        offset = (await stream.close()).next_offset
    result = {"url": target.shown, "next_offset": offset, "closed": True}
    finish(closed(stream, offset), result if as_json else None)


async def delete(target: StreamTarget, *, as_json: bool) -> None:
    """Delete the stream."""
    try:
        async with connect(target) as stream:
            await stream.delete()
    except StreamNotFound as refusal:
        if (many := _option_for_many(target)) is None:
            raise
        raise Failed(f"{refusal}; to delete many, give {many}") from refusal
    finish(f"Deleted {target.shown}.", {"url": target.shown, "deleted": 1} if as_json else None)


def _option_for_many(target: StreamTarget) -> str | None:
    """Return the option by which a name with wildcards means many streams; None for any other."""
    base = urlsplit(target.server.base).path.rstrip("/") + "/"
    name = unquote(target.path.removeprefix(base))
    if not re.search(r"[*?]|\[.+\]", name) or not target.path.startswith(base):
        return None
    beginning = name.removesuffix("*")
    is_prefix = beginning != name and not re.search(r"[*?[]", beginning)
    prefix = shlex.quote(beginning or "/")  # an empty one is refused
    return f"--prefix {prefix}" if is_prefix else f"--glob {shlex.quote(name)}"


async def _data(text: str) -> bytes:
    """Return the bytes of the text, of the file for "@FILE", or all of stdin for "-"."""
    if text.startswith("@"):
        return _file_bytes(Path(text[1:]))
    if text != "-":
        # Arguments that are no UTF-8 come as surrogates, and leave as the bytes they were.
        return os.fsencode(text)
    if sys.stdin is not None and sys.stdin.isatty():
        note("Reading from the terminal; Ctrl-D ends.")
    return b"".join([piece async for piece in stdin.pieces()])


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise Failed(f"{path} cannot be read: {cause.strerror}") from cause
