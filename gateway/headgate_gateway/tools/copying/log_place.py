"""The streams of a log, which is opened in this process."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.errors import BadRequest, HeadgateError, StartError
from headgate_gateway.features.subscriptions.delivery.documents import documents_in
from headgate_gateway.features.subscriptions.rows import stored_number
from headgate_gateway.logs.contract import Conflict, listing_of
from headgate_gateway.logs.registry import log_for
from headgate_gateway.logs.sqlite.data_folder import DataFolder, FolderInUse
from headgate_gateway.protocol import lifecycle as rules
from headgate_gateway.protocol.bodies.content import read_body
from headgate_gateway.protocol.requests import CreateRequest
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import Change, StreamState, records_after
from headgate_gateway.settings import Route
from headgate_gateway.settings.log_kinds import file, kind_of
from headgate_gateway.streams.clock import StreamClock
from headgate_gateway.tools.copying.contract import Description, StreamRefused, parts_of
from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headgate_gateway.logs.contract import LoadedStream, Log
    from headgate_gateway.protocol.streams.state import ClockReading, Record

PAGE = 500  # streams of a page of the list


class LogPlace:
    """A log without a server, or beside the servers of a shared one."""

    def __init__(self, storage: str) -> None:
        """Take the URL of a storage. Raises ValueError if it names none, or one in memory."""
        kind = kind_of(storage)
        if kind is None or kind.name == "memory":
            raise ValueError("it must be file:PATH or a redis:// URL")
        for check in (kind.check, kind.look):
            try:
                check(storage)
            except ValueError as cause:
                raise ValueError(f"it {cause}") from cause
        self.shown = kind.redact(storage)
        self._storage = storage
        self.places = {(kind.name, place) for place in kind.places(storage)}
        self.log: Log
        self.clock: StreamClock

    def check_there(self) -> None:
        """Raise Failed if there is no data file: opening it would make one."""
        if kind_of(self._storage) is file.KIND:
            data = DataFolder(Path(file.folder(self._storage)))
            if not data.file.exists():
                raise Failed(f"{self.shown}: there is no data file {data.file.name} in this folder")

    async def open(self) -> None:
        """Open the log. Raises Failed if a server has it open, or if it cannot be used."""
        self.log = log_for(Route.of({"prefix": "/copied", "storage": self._storage}))
        shared = self.log.sharing is not None
        self.clock = StreamClock(time.time, time.monotonic, follows_wall=shared)  # noqa: TID251 - no caller has one
        try:
            await self.log.open()
        except FolderInUse as refusal:
            raise Failed(
                f"{self.shown} is in use: end its server, or give the server's URL in place of it"
            ) from refusal
        except StartError as refusal:
            raise Failed(refusal.detail) from refusal
        self.clock.start(self.log.noted_clocks())

    async def close(self) -> None:
        """Close the log."""
        await self.log.close()

    async def listed(self, prefix: str) -> AsyncIterator[str]:
        """Yield the paths of streams that a client may use and that begin with `prefix`."""
        listing, after = listing_of(self.log), ""
        while True:
            page = await listing.page(prefix, after, PAGE)
            for state in page.states:
                if self.is_present(state):
                    yield state.path
            if page.after is None:
                return
            after = page.after

    async def subscriptions(self) -> int:
        """Return how many subscriptions there are."""
        documents = documents_in(self.log)
        return 0 if documents is None else await stored_number(documents)

    def is_present(self, state: StreamState | None) -> bool:
        """Return whether a client may use the stream."""
        try:
            rules.present(state, self.clock())
        except HeadgateError:
            return False
        return True

    async def load(self, path: str) -> LoadedStream:
        """Load the stream at a path; an expired stream there is removed first."""
        loaded = await self.log.load(path)
        state = loaded.path_state.state
        if state is not None and state.expired(self.clock()) and not state.references:
            with contextlib.suppress(Conflict):
                await self.log.commit(rules.remove(state))
            loaded = await self.log.load(path)
        return loaded


class LogStream:
    """A stream of a log. Each of its commits expects the version that was read last."""

    def __init__(self, place: LogPlace, path: str) -> None:
        self._place = place
        self._path = path
        self._state: StreamState
        self._compared: int | None = None  # the position up to which `pieces` has been

    def _now(self) -> ClockReading:
        return self._place.clock()

    async def describe(self) -> Description | None:
        """Return the present properties of the stream; None if there is none."""
        state = (await self._place.log.load(self._path)).path_state.state
        if state is None or not self._place.is_present(state):
            return None
        return self._described(state)

    def _described(self, state: StreamState) -> Description:
        self._state = state
        return Description.of(state)

    async def pieces(self) -> AsyncIterator[Sequence[bytes]]:
        """Yield what follows the content that was yielded or appended last, a page at a time."""
        state = self._state
        position = state.first if self._compared is None else self._compared
        while position < state.tail:
            chunk = await self._place.log.read(state, position, position + CHUNK_BYTES)
            page: list[bytes] = []
            position = chunk.start
            for record in chunk.records:
                position += len(record)
                if position > state.tail:  # appended since
                    break
                page += parts_of(state.content_type, read_body(state.content_type, [record]))
            self._compared = min(position, state.tail)
            yield page

    async def create(self, wanted: Description) -> Description:
        """Create the stream, empty and open, with the type and the lifetime of another."""
        place = (await self._place.load(self._path)).path_state
        # A generation that the source never had: its offsets are refused, and mean no other data.
        with contextlib.suppress(BadRequest):
            theirs = parse_offset(wanted.next_offset, "offset").generation
            place = msgspec.structs.replace(place, retired=max(place.retired or 0, theirs))
        request = CreateRequest(b"", wanted.content_type, wanted.lifetime, False, None)
        created, changes = rules.decide_create(
            place, self._path, request, self._place.log.new_stream_id(), self._now()
        )
        if changes:
            try:
                await self._place.log.commit(changes)
            except Conflict as lost:
                raise StreamRefused("somebody else creates this stream") from lost
        return self._described(created.state)

    async def append(self, pieces: Sequence[bytes]) -> bool:
        """Append after the content that was read last.

        Return False and append nothing if another append came first: then the caller has to read
        what that added, and compare it.
        """
        records = tuple(records_after(self._state.tail, pieces))
        is_done = await self._commit(self._next(tail=records[-1].end), records)
        if is_done:
            self._compared = self._state.tail
        return is_done

    async def close(self) -> None:
        """Close the stream, whose content is complete."""
        if not await self._commit(self._next(closed=True), ()):
            raise StreamRefused("somebody else writes to the copy")

    def _next(self, **fields: object) -> StreamState:
        state = self._state
        deadline = state.lifetime.deadline(self._now())
        changed = {"version": state.version + 1, "deadline": deadline, **fields}
        return msgspec.structs.replace(state, **changed)

    async def _commit(self, state: StreamState, records: tuple[Record, ...]) -> bool:
        change = Change(state, self._state.version, records, appends=bool(records))
        try:
            await self._place.log.commit((change,))
        except Conflict:
            found = (await self._place.log.load(self._path)).path_state.state
            if found is None or found.stream_id != state.stream_id:
                raise StreamRefused("somebody has removed the copy") from None
            self._state = found
            return False
        self._state = state
        return True
