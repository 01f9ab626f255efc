"""Deleting the streams that a search finds: those that were counted, and no others."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import click

from headgate.errors import StreamError
from headgate_gateway.protocol.http.header_names import STREAM_ID
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.server.listing import streams_below
from headgate_gateway.tools.shell.failure import FAILURES, Failed
from headgate_gateway.tools.shell.output import finish, note
from headgate_gateway.tools.shell.patience import CommandRetries
from headgate_gateway.tools.shell.progress import Progress

if TYPE_CHECKING:
    from typing import Self

    from headgate.stream_requests import StreamRequests
    from headgate_gateway.tools.server.listing import NameSearch
    from headgate_gateway.tools.server.target import StreamTarget

# Requests at once: they hide the way to a far server, and keep no other client waiting.
AT_ONCE = 8
GONE = {404, 410}


class CountedStreams:
    """The paths of the streams to delete, in a file without a name: a million need no memory."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - see __exit__
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


async def count(
    admin: StreamTarget, base: str, search: NameSearch, counted: CountedStreams
) -> None:
    """Note the streams below `base` that a search finds, each with its id if that is known."""
    progress = Progress()
    async with connect(admin) as api:
        try:
            async for found in streams_below(api, base, search):
                counted.file.write(f"{found.path} {found.row.stream_id or ''}\n")
                counted.count += 1
                progress.show(lambda: f"{_streams(counted.count)} counted")
        finally:
            progress.clear()


def confirm(counted: CountedStreams, where: str) -> None:
    """Have the number of streams typed. Raises Failed for another answer."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask: give --yes to delete what is counted.")
    asked = f"{_streams(counted.count)}: {where}. Type {counted.count} to delete them"
    if click.prompt(asked, err=True, default="", show_default=False) != str(counted.count):
        raise Failed("nothing was deleted")


async def delete_counted(target: StreamTarget, counted: CountedStreams, *, as_json: bool) -> None:
    """Delete the streams that were counted, and say how many were there."""
    counted.file.seek(0)
    async with connect(target) as server:
        deletion = DeleteQueue(server, counted)
        await deletion.run()
    missing = f"; {deletion.missing} were gone already" if deletion.missing else ""
    numbers = {"deleted": deletion.deleted, "gone": deletion.missing}
    finish(f"Deleted {_streams(deletion.deleted)}{missing}.", numbers if as_json else None)


class DeleteQueue:
    """The requests under way, and what became of the others."""

    def __init__(self, server: StreamRequests, counted: CountedStreams) -> None:
        self._server = server
        self._counted = counted
        self._progress = Progress()
        self._retries = CommandRetries(self._report, is_repeatable=True)
        self.deleted = 0
        self.missing = 0  # before they were asked for, as after an interrupted run

    async def run(self) -> None:
        """Delete all. The first failure ends it, when the requests under way are answered."""
        workers = [asyncio.create_task(self._work()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        except asyncio.CancelledError:
            self._progress.clear()
            note(f"Interrupted: {self._so_far()}; the same command goes on.")
            raise
        except FAILURES as failure:
            raise Failed(f"{failure}; {self._so_far()}") from failure
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._progress.clear()

    async def _work(self) -> None:
        # Each worker takes the next line: the file is read as far as requests were sent.
        while line := self._counted.file.readline().strip():
            path, _, stream_id = line.partition(" ")
            stream = self._server.beside(urljoin(self._server.url, path))
            try:
                await self._retries.run(partial(_delete, stream, stream_id))
                self.deleted += 1
            except StreamError as refusal:
                if refusal.status not in GONE:
                    raise
                self.missing += 1
            self._progress.show(self._so_far)

    def _so_far(self) -> str:
        done = self.deleted + self.missing
        return f"{done} of {self._counted.count} streams are deleted"

    def _report(self, sentence: str) -> None:
        self._progress.clear()
        note(f"headgate: {sentence}")


async def _delete(stream: StreamRequests, stream_id: str) -> None:
    """Delete a stream; one with an id only if it is that one."""
    headers = {STREAM_ID: stream_id} if stream_id else None
    async with stream.request("DELETE", headers=headers):
        return


def _streams(number: int) -> str:
    return f"{number} stream{'' if number == 1 else 's'}"
