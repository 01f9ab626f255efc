"""Append lines: many in a request, or one in each for a producer whose run may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from headgate.errors import StreamError
from headgate.names import is_closed
from headgate.sending.framing import is_json
from headgate.sending.writer import StreamWriter
from headgate_gateway.commands.stream.append import begun, closed, leading_to
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import json_messages
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.shell import input as stdin
from headgate_gateway.tools.shell.amounts import counted
from headgate_gateway.tools.shell.failure import FAILURES, Failed
from headgate_gateway.tools.shell.output import finish, note
from headgate_gateway.tools.shell.patience import LIMITED_FOR_S, tell
from headgate_gateway.tools.shell.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from headgate.stream_requests import StreamRequests
    from headgate_gateway.commands.stream.append import AppendSession, CommandProducer
    from headgate_gateway.tools.server.target import StreamTarget

# After Ctrl-C, for the responses to lines that were read; a second Ctrl-C does not wait.
LAST_ANSWERS_S = 2.0


async def append_lines(
    target: StreamTarget,
    headers: Mapping[str, str],
    producer: CommandProducer | None,
    *,
    close: bool,
    as_json: bool,
) -> None:
    """Append each line of stdin, as it comes."""
    progress = Progress()

    def say(sentence: str) -> None:
        progress.clear()
        tell(sentence)

    async with connect(target) as stream, contextlib.AsyncExitStack() as block:
        try:
            lines: BatchedLines | NumberedLines
            if producer is not None:
                lines = NumberedLines(await begun(stream, headers, producer, say))
            else:
                content_type = headers.get("Content-Type")
                writer = StreamWriter(
                    stream, content_type=content_type, retry_for=LIMITED_FOR_S, note=say
                )
                lines = BatchedLines(await block.enter_async_context(writer))
        except asyncio.CancelledError:
            note(f"Interrupted: {_in_the_stream(0)}.")
            raise
        await _append_all(lines, progress, close=close)
        _finish(lines, stream, is_closed=close, as_json=as_json)


class BatchedLines:
    """Lines in as few requests as they come in."""

    known = 0  # stored before: a writer is a producer of its own

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        # Blank lines are not written: from which chunk on, its line is how many further.
        self._shifts: deque[tuple[int, int]] = deque([(0, 1)])
        self._next_number = 1
        self.content_type = writer.content_type

    @property
    def appended(self) -> int:
        """The number of lines that are in the stream, by the word of the server."""
        return self._writer.acknowledged

    @property
    def under_way(self) -> int:
        """The number of further lines that may be in the stream."""
        return self._writer.taken - self._writer.acknowledged

    @property
    def offset(self) -> str:
        """The next offset after the lines, "" if it is not known."""
        return self._writer.next_offset or ""

    async def append(self, number: int, line: bytes) -> None:
        """Take a line. Raises Failed for one that the stream cannot hold."""
        if number != self._next_number:
            self._shifts.append((self._writer.taken, number - self._writer.taken))
            self._forget()
        self._next_number = number + 1
        try:
            await self._writer.write(line)
        except ValueError as cause:
            raise Failed(f"line {number}: {cause}") from cause
        except StreamError as failure:
            raise self._of_line(failure) from failure

    async def settle(self) -> None:
        """Wait for the answers to all that was sent; it is the last call."""
        try:
            await self._writer.aclose()  # also when the end has begun
        except StreamError as failure:
            raise self._of_line(failure) from failure

    async def end(self) -> None:
        """Close the stream with the last of them."""
        try:
            await self._writer.end()
        except StreamError as failure:
            raise self._of_line(failure) from failure

    def _forget(self) -> None:
        """Drop what is about lines that are in the stream."""
        while len(self._shifts) > 1 and self._shifts[1][0] <= self.appended:
            self._shifts.popleft()

    def _of_line(self, failure: StreamError) -> Failed:
        """Return the failure with the number of the first line that is not in the stream."""
        self._forget()
        if not self.under_way:
            return Failed(str(failure))
        return Failed(f"line {self.appended + self._shifts[0][1]}: {failure}")


class NumberedLines:
    """Appends of one line each: the same input makes the same appends in each run."""

    under_way = 0  # lines that may be in the stream; the next run does not duplicate them

    def __init__(self, session: AppendSession) -> None:
        self._session = session
        self.content_type = session.content_type

    @property
    def appended(self) -> int:
        """The number of lines that are in the stream, by the word of the server."""
        return self._session.sent

    @property
    def known(self) -> int:
        """The number of lines that an earlier run had appended."""
        return self._session.known

    @property
    def offset(self) -> str:
        """The next offset after the lines, "" if it is not known."""
        return self._session.offset

    async def append(self, number: int, line: bytes) -> None:
        """Append a line. Raises Failed for one that the stream cannot hold."""
        self.under_way = 1
        try:
            await self._session.append(_message(line) if is_json(self.content_type) else line)
            self.under_way = 0
        except FAILURES as failure:
            self.under_way = 0
            perhaps = self._perhaps_closed(failure)
            raise Failed(f"line {number}: {failure}{perhaps}") from failure

    async def settle(self) -> None:
        """Return at once: each line has been answered already."""

    async def end(self) -> None:
        """Close the stream."""
        await self._session.retries.run(self._session.stream.close)

    def _perhaps_closed(self, failure: Exception) -> str:
        """Return a hint why the stream may be closed when a producer begins again, or ""."""
        if self.appended or not isinstance(failure, StreamError):
            return ""
        is_it = is_closed(failure.headers)
        return "; an earlier run with --close may have appended all and closed it" if is_it else ""


async def _append_all(
    lines: BatchedLines | NumberedLines, progress: Progress, *, close: bool
) -> None:
    def so_far() -> str:
        return f"{counted(lines.appended, 'line')} so far"

    try:
        async for number, line in _numbered(is_json(lines.content_type)):
            await lines.append(number, line)
            progress.show(so_far)
        await (lines.end() if close else lines.settle())
    except asyncio.CancelledError:
        with contextlib.suppress(TimeoutError, *FAILURES):
            async with asyncio.timeout(LAST_ANSWERS_S):
                await lines.settle()
        progress.clear()
        more = f", and {lines.under_way} more may be" if lines.under_way else ""
        note(f"Interrupted: {_in_the_stream(lines.appended)}{more}.")
        raise
    except FAILURES as failure:
        with contextlib.suppress(*FAILURES):  # which it may be itself
            await lines.settle()
        verb = "was" if lines.appended == 1 else "were"
        before = f"{counted(lines.appended, 'line')} {verb} appended before"
        raise Failed(f"{failure}; {before}") from failure
    finally:
        progress.clear()


def _finish(
    lines: BatchedLines | NumberedLines, stream: StreamRequests, *, is_closed: bool, as_json: bool
) -> None:
    if as_json:
        result = {
            "url": stream.shown,
            "lines": lines.appended,
            "duplicates": lines.known,
            "next_offset": lines.offset or None,
            "closed": is_closed,
        }
        finish("", result)
        return
    known = f", {lines.known} of them stored before" if lines.known else ""
    note(f"Appended {counted(lines.appended, 'line')}{known}{leading_to(lines.offset)}.")
    if is_closed:
        note(closed(stream, lines.offset))


async def _numbered(as_json: bool) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the lines of stdin with their numbers; blank lines of JSON input are skipped."""
    number = 0
    async for line in stdin.lines():
        number += 1
        if not as_json:
            yield number, line
        elif message := line.strip():
            yield number, message


def _message(line: bytes) -> bytes:
    """Return the body that appends one message, also if that is an array."""
    if not line.startswith(b"["):
        return line
    try:
        json_messages(line)
    except BadRequest as cause:
        raise Failed(cause.detail) from cause
    # Servers take one level of arrays apart.
    return b"[" + line + b"]"


def _in_the_stream(lines: int) -> str:
    return f"{counted(lines, 'line')} {'is' if lines == 1 else 'are'} in the stream"
