"""The streams of a log, which is opened in this process."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import msgspec

from headgate.names import with_scheme
from headgate_gateway.errors import HeadgateError, StartError
from headgate_gateway.features.subscriptions.delivery.documents import documents_in
from headgate_gateway.features.subscriptions.rows import stored_number
from headgate_gateway.logs.contract import Conflict, listing_of
from headgate_gateway.logs.registry import log_for
from headgate_gateway.logs.sqlite.data_folder import DataFolder, FolderInUse
from headgate_gateway.protocol import lifecycle as rules
from headgate_gateway.protocol.bodies.content import read_body
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES, no_newer_than
from headgate_gateway.protocol.streams.state import Change, StreamState, records_after
from headgate_gateway.settings import Route
from headgate_gateway.settings.log_kinds import file, kind_of
from headgate_gateway.streams.clock import StreamClock
from headgate_gateway.tools.copying.contract import (
    LONGER,
    OTHER,
    Description,
    StreamRefused,
    parts_of,
)
from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from headgate_gateway.logs.contract import LoadedStream, Log
    from headgate_gateway.protocol.lifecycle import PathState
    from headgate_gateway.protocol.streams.state import Record

PAGE = 500  # streams of a page of the list
# Seconds by which a deadline has to be later than that of the copy to replace it: two readings of
# the clocks differ by less.
LEAST_LATER_S = 1.0


class LogPlace:
    """A log without a server, or beside the servers of a shared one."""

    def __init__(self, storage: str, other_places: str = "") -> None:
        """Take the URL of a storage. Raises ValueError if it names none, or one in memory.

        The error names what else is allowed by `other_places`.
        """
        kind = kind_of(storage)
        if kind is None or kind.name == "memory":
            meant = with_scheme(storage) if other_places else None
            hint = f": write {meant}" if meant else ""
            raise ValueError(f"it must be file:PATH or a redis:// URL{other_places}{hint}")
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
        """Raise ValueError if there is no data file: opening it would make one."""
        if kind_of(self._storage) is file.KIND:
            data = DataFolder(Path(file.folder(self._storage)))
            if not data.file.exists():
                missing = f"there is no data file, {data.file.name}, in {data.folder}"
                raise ValueError(
                    missing if data.folder.exists() else f"{data.folder} does not exist"
                )

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

    async def stream(self, path: str) -> LogStream | None:
        """Return the stream at a path to copy it; None if there is none."""
        loaded = await self.log.load(path)
        state = loaded.path_state.state
        return LogStream(self, state, loaded) if self.is_present(state) else None

    async def subscriptions(self) -> int:
        """Return how many subscriptions there are."""
        documents = documents_in(self.log)
        return 0 if documents is None else await stored_number(documents)

    def is_present(self, state: StreamState | None) -> TypeGuard[StreamState]:
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

    async def pieces(self, state: StreamState) -> AsyncIterator[list[bytes]]:
        """Yield the content that a stream had at `state`, a page at a time."""
        position = state.first
        while position < state.tail:
            chunk = no_newer_than(
                await self.log.read(state, position, position + CHUNK_BYTES), state
            )
            position = chunk.end
            kind = state.content_type
            yield [
                it for record in chunk.records for it in parts_of(kind, read_body(kind, [record]))
            ]


class LogStream:
    """A stream of a log, which is copied with its offsets and with state that no client can see.

    The producers are stored with the last records: their numbers must not be ahead of the records.
    """

    def __init__(self, place: LogPlace, state: StreamState, loaded: LoadedStream) -> None:
        self.description = Description.of(state)
        self._place = place
        self._state = state
        self._loaded = loaded

    async def changes(self, target: LogPlace, copy: LoadedStream) -> AsyncGenerator[Change]:
        """Yield the changes that make what `target` has at the path a copy of this stream.

        Each is to be committed before the next one is made. Raises StreamRefused if what is there
        is not a beginning of this stream.
        """
        source, place = self._state, copy.path_state
        position = source.first
        if place.state is None:
            _check_retired(source, place)
        else:
            await self._compare(target, place.state)
            position = max(position, place.state.tail)
        is_whole = False
        while not is_whole:
            records: tuple[Record, ...] = ()
            if position < source.tail:
                chunk = await self._place.log.read(source, position, position + CHUNK_BYTES)
                if chunk.start != position:
                    raise StreamRefused(OTHER)
                records = tuple(records_after(position, no_newer_than(chunk, source).records))
                position = records[-1].end
            is_whole = position == source.tail
            known, has = copy.producers, self._loaded.producers if is_whole else copy.producers
            state, held = self._copied(target, place, position), place.state
            change = Change(
                state,
                None if held is None else held.version,
                records,
                tuple((name, it) for name, it in has.items() if known.get(name) != it),
                tuple(name for name in known if name not in has),
                appends=len(records),
                trims=held is not None and state.first > held.first,
            )
            is_same = held == msgspec.structs.replace(state, version=held.version if held else 0)
            if change.records or change.producers or change.forgotten or not is_same:
                yield change
                place = msgspec.structs.replace(place, state=state)

    async def _compare(self, target: LogPlace, copy: StreamState) -> None:
        """Raise StreamRefused unless the copy has the beginning of the source, and no more."""
        source = self._state
        if copy.fork is not None or copy.soft_deleted:
            raise StreamRefused("the stream that is there already is a fork, or was deleted")
        if copy.tail > source.tail:
            raise StreamRefused(LONGER)
        position = max(source.first, copy.first)
        while position < copy.tail:
            end = min(position + CHUNK_BYTES, copy.tail)
            mine = await self._place.log.read(source, position, end)
            its = await target.log.read(copy, position, end)
            if (mine.start, mine.records) != (its.start, its.records):
                raise StreamRefused(OTHER)
            position = mine.end

    def _copied(self, target: LogPlace, place: PathState, tail: int) -> StreamState:
        """Return the state of the copy with records up to `tail`."""
        source, copy = self._state, place.state
        is_whole = tail == source.tail
        references = 0 if copy is None else copy.references
        first = source.first if copy is None else max(source.first, copy.first)
        return msgspec.structs.replace(
            source,
            stream_id=target.log.new_stream_id() if copy is None else copy.stream_id,
            version=0 if copy is None else copy.version + 1,
            tail=tail,
            closed=source.closed and is_whole,
            closed_by=source.closed_by if is_whole else None,
            stream_seq=source.stream_seq if is_whole else None,
            deadline=self._deadline(target, copy),
            references=references,
            fork=None,
            lineage=(),
            history=place.history,
            first=first,
            marks=tuple(mark for mark in source.marks if first < mark.position <= tail),
            trim_at=None if references else source.trim_at,
        )

    def _deadline(self, target: LogPlace, copy: StreamState | None) -> float | None:
        """Return when the copy ends, by the clock of its log, which is never moved back."""
        source = self._state
        if source.deadline is None or source.lifetime.ttl_s is None:
            return source.deadline
        ends = source.deadline - self._place.clock().steady + target.clock().steady
        if copy is None or copy.deadline is None or ends > copy.deadline + LEAST_LATER_S:
            return ends
        return copy.deadline


def _check_retired(source: StreamState, target: PathState) -> None:
    """Raise StreamRefused if readers may hold these offsets of a stream that was deleted."""
    if target.retired is not None and target.retired >= source.generation:
        raise StreamRefused(
            "a stream that was deleted there has given out the same offsets, which would come to "
            "mean other data: copy it to a place that has not had it"
        )
