"""The operations of the commands on one stream."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from headgate.errors import RequestRefused
from headgate.following import catch_up, follow, long_poll, sse

from gateway.commands.one_stream.append import begun, closed, leading_to
from gateway.commands.one_stream.client import connect, in_words, status_of
from gateway.commands.shell import input as stdin
from gateway.commands.shell.failure import FAILURES, Failed, OutputClosed
from gateway.commands.shell.output import (
    cancelled_when_closed,
    end_line,
    lines,
    note,
    wants_lines,
    write,
)
from gateway.commands.shell.patience import backoff, tell
from gateway.commands.shell.terminal import safe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
    from pathlib import Path

    from headgate.stream import Stream

    from gateway.commands.one_stream.append import CommandProducer
    from gateway.commands.one_stream.target import StreamTarget

    # Where an offset that is refused came from, and what to do.
    Hint = Callable[[RequestRefused], str]

T = TypeVar("T")

INTERRUPTED = 130
# How servers answer to an offset that they never gave out, or that is of an earlier stream.
BAD_OFFSET = {400, 410}
# What Headgate names of a stream that has lost a part.
PLACE_TO_GO_ON = re.compile(r"(?:go on from|the stream begins at) ([0-9_]+)")


def run(target: StreamTarget, work: Coroutine[object, object, None]) -> None:
    """Do the work on a stream; what goes wrong becomes one sentence and an exit status."""
    try:
        try:
            asyncio.run(work)
        finally:
            end_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OutputClosed:
        pass
    except FAILURES as failure:
        note(f"headgate: {in_words(failure, target)}.")
        sys.exit(status_of(failure))


async def create(
    target: StreamTarget, headers: Mapping[str, str], data: str | None, source: StreamTarget | None
) -> None:
    """Create the stream with this configuration and perhaps first data."""
    body = None if data is None else await _data(data)
    try:
        async with connect(target) as stream:
            await _create(stream, headers, body)
    except RequestRefused as refusal:
        fork_offset = headers.get("Stream-Fork-Offset")
        if fork_offset is not None and refusal.status in BAD_OFFSET:
            raise Failed(f"{refusal}; --fork-offset was {fork_offset}") from refusal
        if source is None or refusal.status != 404:
            raise
        # It is the source that is missing: the fork is only about to be made.
        raise Failed(f"{refusal}; --fork-from was {source.shown}") from refusal


async def _create(stream: Stream, headers: Mapping[str, str], body: bytes | None) -> None:
    made = await stream.create(headers=headers, body=body)
    closed = ", closed" if made.is_closed else ""
    what = f"{stream.shown} ({made.content_type or 'of no content type'}{closed})"
    done = f"Created {what}" if made.is_new else f"{what} is there already"
    note(f"{done}; next offset {made.next_offset}.")


async def append(
    target: StreamTarget,
    headers: Mapping[str, str],
    producer: CommandProducer | None,
    data: str | None,
    *,
    close: bool,
) -> None:
    """Append the data, or all of stdin, in one request."""
    body = await _data("-" if data is None else data)
    if not body and not close:
        raise Failed("nothing to append: give --data or stdin")
    async with connect(target) as stream:
        session = await begun(stream, headers, producer)
        await session.append(body, is_closing=close)
    done = ("Already appended" if session.known else "Appended") if body else "Closed"
    note(f"{done}{' and closed' if body and close else ''}{leading_to(session.offset)}.")


async def read(
    target: StreamTarget, offset: str | None, offset_file: Path | None, *, as_lines: bool | None
) -> None:
    """Print from the offset to the tail, and tell where the next read begins."""
    hint = _of_option(offset)
    if offset_file is not None:
        offset = _kept_offset(offset_file)
        hint = None if offset is None else partial(_of_file, offset_file)
    async with connect(target) as stream:
        batches = catch_up(
            stream,
            "-1" if offset is None else offset,
            in_parts=lambda content_type: not wants_lines(content_type, asked=as_lines),
        )
        async with aclosing(_explained(batches, hint)) as told:
            async for content_type, batch in told:
                by_line = wants_lines(content_type, asked=as_lines)
                for body in batch.bodies:
                    write(lines(body) if by_line else body)
                offset = batch.position.offset
                # Only what has been printed is never asked for again.
                if offset_file is not None:
                    _keep_offset(offset_file, offset)
    if offset_file is None:
        note(f"next offset: {offset}")


async def tail(
    target: StreamTarget, offset: str | None, *, by_poll: bool, as_lines: bool | None
) -> None:
    """Print what comes until the stream is closed or nobody reads any more."""
    hint = _of_option(offset)
    with cancelled_when_closed():
        async with connect(target) as stream:
            # Its answer tells a wrong name from a passing fault, and where "now" is.
            metadata = await stream.head()
            by_line = wants_lines(metadata.content_type, asked=as_lines)
            begin = metadata.next_offset if offset is None else offset
            live = long_poll if by_poll else sse
            batches = follow(stream, begin, live, backoff=backoff(), note=tell)
            async with aclosing(_explained(batches, hint)) as told:
                async for batch in told:
                    for body in batch.bodies:
                        write(lines(body) if by_line else body)


async def _explained(batches: AsyncGenerator[T], hint: Hint | None) -> AsyncGenerator[T]:
    """Yield the batches; if the first is refused for its offset, add where that came from."""
    has_begun = False
    try:
        # Closed from the outside in: the end of the loop would close them all at once.
        async with aclosing(batches):
            async for batch in batches:
                has_begun = True
                yield batch
    except RequestRefused as refusal:
        if has_begun or hint is None or refusal.status not in BAD_OFFSET:
            raise
        raise Failed(f"{refusal}; {hint(refusal)}") from refusal


def _of_option(offset: str | None) -> Hint | None:
    return None if offset is None else lambda _: f"--offset was {offset or 'empty'}"


def _of_file(path: Path, refusal: RequestRefused) -> str:
    if named := PLACE_TO_GO_ON.search(str(refusal)):
        return f"to go on there, put {named[1]} into {path}; to begin again, remove it"
    return f"the offset is that in {path}: remove it to begin again"


async def head(target: StreamTarget, *, as_json: bool) -> None:
    """Print the stream's metadata."""
    async with connect(target) as stream:
        told = await stream.head()
    metadata = {
        "url": target.shown,
        "content_type": told.content_type or None,
        "next_offset": told.next_offset,
        "closed": told.is_closed,
        "ttl": told.ttl_s,
        "expires_at": told.expires_at,
    }
    if as_json:
        write(json.dumps(metadata).encode() + b"\n")
        return
    shown = {"closed": "yes" if metadata["closed"] else "no"}
    rows = [(name, shown.get(name, value)) for name, value in metadata.items() if value is not None]
    form = "{:<12}  {}\n" if sys.stdout.isatty() else "{}\t{}\n"
    write("".join(form.format(name, safe(str(value))) for name, value in rows).encode())


async def close(target: StreamTarget) -> None:
    """Close the stream."""
    async with connect(target) as stream:
        note(closed(stream, (await stream.close()).next_offset))


async def delete(target: StreamTarget) -> None:
    """Delete the stream."""
    async with connect(target) as stream:
        await stream.delete()
    note(f"Deleted {target.shown}.")


async def _data(text: str) -> bytes:
    """Return the bytes of the text, or all of stdin for "-"."""
    if text != "-":
        # Arguments that are no UTF-8 come as surrogates, and leave as the bytes they were.
        return os.fsencode(text)
    if sys.stdin is not None and sys.stdin.isatty():
        note("Reading from the terminal; Ctrl-D ends.")
    return b"".join([piece async for piece in stdin.pieces()])


def _kept_offset(path: Path) -> str | None:
    """Return the offset in the file, or None; check before any output that it can be written."""
    if not os.access(path.parent, os.W_OK):
        reason = "it cannot be written to" if path.parent.is_dir() else "there is no such folder"
        raise Failed(f"{path} cannot be kept in {path.parent}: {reason}")
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except UnicodeError as cause:
        raise Failed(f"{path} holds no offset: remove it to begin again") from cause
    except OSError as cause:
        raise Failed(f"{path} cannot be read: {cause.strerror}") from cause


def _keep_offset(path: Path, offset: str) -> None:
    """Replace the file at once, so that a crash leaves the old offset or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(f"{offset}\n", encoding="ascii")
        draft.replace(path)
    except OSError as cause:
        raise Failed(f"{path} cannot be written: {cause.strerror}") from cause
