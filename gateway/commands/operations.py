"""What the commands on one stream do."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from typing import TYPE_CHECKING

from gateway.commands import input as stdin
from gateway.commands.append import Appender, Producer, messages
from gateway.commands.backoff import Backoff
from gateway.commands.client import Stream, connect, is_closed, next_offset
from gateway.commands.failure import Failed, OutputClosed
from gateway.commands.follow import catch_up, follow, long_poll, sse
from gateway.commands.output import cancelled_when_closed, lines, note, wants_lines, write

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

    from gateway.commands.target import Target

FAILED = 1
INTERRUPTED = 130
CLOSING = {"Stream-Closed": "true"}


def run(work: Coroutine[object, object, None]) -> None:
    """Do the work; what goes wrong becomes one sentence and an exit status."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OutputClosed:
        pass
    except Failed as failure:
        note(f"headgate: {failure}.")
        sys.exit(FAILED)


async def create(target: Target, headers: Mapping[str, str], data: str | None) -> None:
    """Create the stream with this configuration and perhaps first data."""
    body = None if data is None else await _data(data)
    async with connect(target) as stream, stream.request("PUT", headers=headers, body=body) as it:
        what = f"{target.shown} ({it.headers.get('Content-Type', 'of no content type')})"
        done = f"Created {what}" if it.status == 201 else f"{what} is there already"
        note(f"{done}; next offset {next_offset(it)}.")


async def append(
    target: Target,
    headers: Mapping[str, str],
    producer: Producer | None,
    data: str | None,
    *,
    close: bool,
) -> None:
    """One append of the data, or of all of stdin."""
    body = await _data("-" if data is None else data)
    async with connect(target) as stream:
        typed = {**headers, "Content-Type": await _content_type(stream, headers)}
        appender = _appender(stream, typed | CLOSING if close else typed, producer)
        await appender.append(body)
    done = "Already appended" if appender.known else "Appended"
    note(f"{done}{' and closed' if close else ''}{_leading_to(appender)}.")


async def append_lines(
    target: Target, headers: Mapping[str, str], producer: Producer | None, *, close: bool
) -> None:
    """One append for each line of stdin, as it comes."""
    async with connect(target) as stream:
        content_type = await _content_type(stream, headers)
        appender = _appender(stream, {**headers, "Content-Type": content_type}, producer)
        try:
            async for message in messages(stdin.lines(), content_type):
                await appender.append(message)
        except Failed as failure:
            raise Failed(f"{failure}; {appender.sent} lines were appended before") from failure
        known = f", {appender.known} of them by an earlier run" if appender.known else ""
        note(f"Appended {appender.sent} lines{known}{_leading_to(appender)}.")
        if close:
            await _close(stream)


async def read(
    target: Target, offset: str, offset_file: Path | None, *, as_lines: bool | None
) -> None:
    """Print from the offset to the tail, and tell where the next read begins."""
    kept = None if offset_file is None else _kept_offset(offset_file)
    ends_line = True
    async with connect(target) as stream:
        async for content_type, batch in catch_up(stream, kept or offset):
            by_line = wants_lines(content_type, asked=as_lines)
            for body in batch.bodies:
                write(lines(body) if by_line else body)
                ends_line = by_line or body.endswith(b"\n")
            offset = batch.position.offset
            # Only what has been printed is never asked for again.
            if offset_file is not None:
                _keep_offset(offset_file, offset)
    if offset_file is None:
        # Text that does not end its line would run into the words about it.
        note(f"{'' if ends_line or not sys.stdout.isatty() else os.linesep}next offset: {offset}")


async def tail(target: Target, offset: str | None, *, by_poll: bool, as_lines: bool | None) -> None:
    """Print what comes until the stream is closed or nobody reads any more."""
    with cancelled_when_closed():
        async with connect(target) as stream:
            # Its answer tells a wrong name from a passing fault, and where "now" is.
            metadata = await stream.head()
            by_line = wants_lines(metadata.get("Content-Type", ""), asked=as_lines)
            begin = offset or next_offset(metadata)
            live = long_poll if by_poll else sse
            async for batch in follow(stream, begin, live, backoff=_backoff(), note=note):
                for body in batch.bodies:
                    write(lines(body) if by_line else body)


async def head(target: Target, *, as_json: bool) -> None:
    """Print the stream's metadata."""
    async with connect(target) as stream:
        headers = await stream.head()
    ttl = headers.get("Stream-TTL")
    metadata = {
        "url": target.shown,
        "content_type": headers.get("Content-Type"),
        "next_offset": next_offset(headers),
        "closed": is_closed(headers),
        "ttl": int(ttl) if ttl is not None and ttl.isdecimal() else ttl,
        "expires_at": headers.get("Stream-Expires-At"),
    }
    if as_json:
        write(json.dumps(metadata).encode() + b"\n")
        return
    shown = {"closed": "yes" if metadata["closed"] else "no"}
    rows = [(name, shown.get(name, value)) for name, value in metadata.items() if value is not None]
    form = "{:<12}  {}\n" if sys.stdout.isatty() else "{}\t{}\n"
    write("".join(form.format(name, value) for name, value in rows).encode())


async def close(target: Target) -> None:
    """Close the stream."""
    async with connect(target) as stream:
        await _close(stream)


async def delete(target: Target) -> None:
    """Delete the stream."""
    async with connect(target) as stream, stream.request("DELETE"):
        note(f"Deleted {target.shown}.")


async def _close(stream: Stream) -> None:
    async with stream.request("POST", headers=CLOSING) as answer:
        note(f"Closed {stream.target.shown}; final offset {next_offset(answer)}.")


async def _data(text: str) -> bytes:
    """The bytes of the text, or all of stdin for "-"."""
    if text != "-":
        # Arguments that are no UTF-8 come as surrogates, and leave as the bytes they were.
        return os.fsencode(text)
    if sys.stdin is not None and sys.stdin.isatty():
        note("Reading from the terminal; Ctrl-D ends.")
    return b"".join([piece async for piece in stdin.pieces()])


async def _content_type(stream: Stream, headers: Mapping[str, str]) -> str:
    """The content type that was asked for, else the stream's."""
    return headers.get("Content-Type") or (await stream.head()).get("Content-Type", "")


def _appender(stream: Stream, headers: Mapping[str, str], producer: Producer | None) -> Appender:
    return Appender(stream, headers, producer, _backoff())


def _leading_to(appender: Appender) -> str:
    return f"; next offset {appender.offset}" if appender.offset else ""


def _backoff() -> Backoff:
    return Backoff(random.random())  # noqa: S311 - it spreads load, it keeps no secret


def _kept_offset(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as cause:
        raise Failed(f"{path} holds no offset that can be read: {cause}") from cause


def _keep_offset(path: Path, offset: str) -> None:
    """Replace the file at once, so that a crash leaves the old offset or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(f"{offset}\n", encoding="ascii")
        draft.replace(path)
    except OSError as cause:
        raise Failed(f"{path} cannot be written: {cause.strerror}") from cause
