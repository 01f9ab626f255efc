"""Deleting the streams that a search finds: the server counts them, and deletes these."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import msgspec

from headgate.errors import StreamError, refusal
from headgate_gateway.tools.server.admin_requests import admin_answer, admin_change, decoded
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.server.listing import ONLY_KNOWN, routes_below
from headgate_gateway.tools.shell.amounts import counted
from headgate_gateway.tools.shell.failure import FAILURES, Failed
from headgate_gateway.tools.shell.output import finish, note
from headgate_gateway.tools.shell.patience import CommandRetries
from headgate_gateway.tools.shell.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from headgate.stream_requests import StreamRequests
    from headgate_gateway.tools.server.listing import NameSearch
    from headgate_gateway.tools.server.target import StreamTarget

API = "api/v1/streams/deletion"
LOOK_S = 0.2  # between two looks at what the server does
STOP_S = 5.0  # for the answer of a server that is to stop
SERVER_FAILED = 500  # the status where no request was refused


class _Deletion(msgspec.Struct):
    """The deletion of a route's streams, as the server shows it."""

    id: str
    route: str
    state: str
    streams: int
    size: int | None
    is_cut: bool
    deleted: int
    gone: int
    failed: int
    trouble: str | None
    status: int | None


class ManyStreams:
    """The streams that a search finds, which the server deletes for this command."""

    def __init__(self, admin: StreamTarget, search: NameSearch) -> None:
        self._admin = admin
        self._search = search
        self._by_route: dict[str, _Deletion] = {}
        self._progress = Progress()
        self._retries = CommandRetries(self._say, is_repeatable=True)

    @property
    def count(self) -> int:
        """The number of streams that were counted."""
        return self._sum("streams")

    def _sum(self, field: str) -> int:
        return sum(getattr(it, field) for it in self._by_route.values())

    async def count_all(self) -> None:
        """Have the streams counted in each route that may have some."""
        search = self._search
        search.test()  # a text that is too long is refused before anything is asked
        base = urlsplit(self._admin.server.base).path.rstrip("/") + "/"
        names = {"contains": search.contains, "glob": search.glob, "base": base}
        async with self._connected() as api:
            for route, prefix in await routes_below(api, base + search.beginning):
                wish = {"route": route, "prefix": prefix, **names}
                found = await self._followed(api, await self._change(api, "", wish))
                if found.size is None:
                    note(ONLY_KNOWN.format(route))

    def confirm(self, where: str) -> None:
        """Have the number of streams typed. Raises Failed for another answer."""
        found = f"{counted(self.count, 'stream')}: {where}."
        them = "it" if self.count == 1 else "them"
        if sys.stdin is None or not sys.stdin.isatty():
            raise click.UsageError(f"{found} There is nobody to ask: give --yes to delete {them}.")
        asked = f"{found} Type {self.count} to delete {them}"
        if click.prompt(asked, err=True, default="", show_default=False) != str(self.count):
            raise Failed("nothing was deleted")

    async def delete_all(self, *, as_json: bool) -> None:
        """Have the streams deleted that were counted, and say how many were there."""
        authorization = self._admin.server.authorization or ""
        wanted = [it for it in self._by_route.values() if it.streams]
        async with self._connected() as api:
            for it in wanted:
                start = {"id": it.id, "confirm": it.streams, "authorization": authorization}
                with _lost(it.route):
                    begun = await self._change(api, "/start", start)
                await self._followed(api, begun)
        numbers = {"deleted": self._sum("deleted"), "gone": self._sum("gone")}
        gone = numbers["gone"]
        missing = f"; {gone:,} {'was' if gone == 1 else 'were'} gone already" if gone else ""
        rest = "; there are more: the same command goes on" if self._sum("is_cut") else ""
        finish(
            f"Deleted {counted(numbers['deleted'], 'stream')}{missing}{rest}.",
            numbers if as_json else None,
        )

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[StreamRequests]:
        """Yield the API. A failure of the block also stops what the server does for it."""
        async with connect(self._admin) as api:
            try:
                yield api
            except (asyncio.CancelledError, *FAILURES) as failure:
                self._progress.clear()
                await self._stop(api)
                if isinstance(failure, asyncio.CancelledError):
                    note(f"Interrupted: {self._so_far()}; the same command goes on.")
                elif self.count:
                    raise Failed(f"{failure}; {self._so_far()}") from failure
                raise
            finally:
                self._progress.clear()

    async def _stop(self, api: StreamRequests) -> None:
        """Stop what the server has not ended."""
        for it in list(self._by_route.values()):
            if it.state in {"counting", "counted", "running"}:
                with contextlib.suppress(*FAILURES, TimeoutError):
                    async with asyncio.timeout(STOP_S):
                        await self._change(api, "/stop", {"id": it.id})

    async def _change(
        self, api: StreamRequests, path: str, body: Mapping[str, object]
    ) -> _Deletion:
        sent = json.dumps(body).encode()
        answer = await admin_change(api, "POST", f"{API}{path}", {}, sent)
        found = decoded(api.shown, answer, _Deletion)
        self._by_route[found.route] = found
        return found

    async def _followed(self, api: StreamRequests, found: _Deletion) -> _Deletion:
        """Return when streams are counted or deleted. Raises FAILURES."""
        while found.state in {"counting", "running"}:
            self._progress.show(self._so_far)
            await asyncio.sleep(LOOK_S)
            look = partial(admin_answer, api, API, {"id": found.id})
            with _lost(found.route):
                answer = await self._retries.run(look)
            found = self._by_route[found.route] = decoded(api.shown, answer, _Deletion)
        if found.state == "stopped":
            raise Failed(f"{found.route}: the deletion was stopped")
        if found.state == "failed" or found.failed:
            status = found.status or SERVER_FAILED
            raise refusal(found.trouble or "", status, {}, stream=found.route)
        return found

    def _so_far(self) -> str:
        if any(it.state == "counting" for it in self._by_route.values()):
            return f"{counted(self.count, 'stream')} counted"
        done = self._sum("deleted") + self._sum("gone")
        return f"{done:,} of {counted(self.count, 'stream')} deleted"

    def _say(self, sentence: str) -> None:
        self._progress.clear()
        note(f"headgate: {sentence}")


@contextlib.contextmanager
def _lost(route: str) -> Iterator[None]:
    """Raise Failed where the server does not know the deletion of a route that it has counted."""
    try:
        yield
    except StreamError as cause:
        if cause.status == HTTPStatus.NOT_FOUND:
            raise Failed(
                f"{route}: the server restarted, or counted another deletion, which ended this one"
            ) from None
        raise
