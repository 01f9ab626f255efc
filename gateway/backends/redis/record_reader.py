"""Reads of records: a stream's own, and those of a fork's sources, perhaps on other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.backends.redis.commands import state_in
from gateway.backends.redis.records import Run, stretches
from gateway.errors import RecordDamaged, StreamGone, StreamNotFound
from gateway.protocol.streams.chunks import Chunk, check_kept
from gateway.protocol.streams.generations import agreed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.backends.redis.commands import Commands
    from gateway.backends.redis.connection import Reply
    from gateway.backends.redis.records import Stretch
    from gateway.backends.redis.servers.topology import Topology
    from gateway.protocol.streams.state import StreamState

MISSING = "a record is missing in Redis: its key was evicted, or changed by somebody else"


class RecordReader:
    """Reads the records of one log's streams."""

    def __init__(
        self, commands: Commands, topology: Topology, execute: Callable[..., Awaitable[list[Reply]]]
    ) -> None:
        """`execute` takes a key, calls for its server, and about how many bytes they return."""
        self._commands = commands
        self._topology = topology
        self._execute = execute
        self._meta = commands.names.meta

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """Return the records after `start`, and a state that is as new as they are, or newer."""
        places = stretches(state, start, end)
        read, was, now = await self._read(state, places)
        if now is None or was is None or not was.stream_id == now.stream_id == state.stream_id:
            raise StreamNotFound("the stream was deleted")
        if start > now.tail or now.offset(start) != state.offset(start):
            raise StreamGone("the log has lost what was before this offset")
        check_kept(now, start)
        run = Run(start)
        for place, entries in read:
            await run.extend(place, entries, was.tail)
        kept = read[-1][0].stop if read else end
        if run.position < min(kept, state.tail, was.tail):
            raise RecordDamaged(MISSING)
        return Chunk(now, run.start, run.position, tuple(run.datas))

    async def _read(
        self, state: StreamState, places: Sequence[Stretch]
    ) -> tuple[list[tuple[Stretch, list[Reply]]], StreamState | None, StreamState | None]:
        """Return the entries of each place, and the state before and after them.

        One call reads all of it from one server. A place ends where the rest of it is lost.
        """
        keys = [self._meta(place.path) for place in places]
        key = self._meta(state.path)
        apart: list[tuple[Stretch, list[Reply]]] = []
        if not self._topology.together([*keys, key]):
            own = places[-1:] if keys[-1] == key else []
            for place in places[: len(places) - len(own)]:
                apart.append(await self._inherited(state, place))
                if apart[-1][0].stop < place.stop:
                    own = []
                    break
            places = own
        expected = sum(place.stop - place.start for place in places)
        reads = self._commands.read(state.path, places)
        was, *replies, now = await self._execute(key, *reads, expected=expected)
        return [*apart, *_by_place(places, replies)], state_in(was), state_in(now)

    async def _inherited(self, fork: StreamState, place: Stretch) -> tuple[Stretch, list[Reply]]:
        """Return the records of a fork that another server has, as far as it still has them."""
        key = self._meta(place.path)
        reads = self._commands.read(place.path, [place])
        _, *replies, found = await self._execute(key, *reads, expected=place.stop - place.start)
        source = state_in(found)
        kept = -1
        if source is not None and source.stream_id == place.stream_id:
            kept = agreed(source, fork, place.stop)
        if kept <= place.start:
            raise StreamGone("the log has lost what the fork's source had here")
        ((_, entries),) = _by_place([place], replies)
        return place._replace(stop=min(kept, place.stop)), entries


def _by_place(
    places: Sequence[Stretch], replies: Sequence[Reply]
) -> list[tuple[Stretch, list[Reply]]]:
    """Return each place with the entry in which it begins and the entries that follow."""
    pairs = zip(places, replies[::2], replies[1::2], strict=True)
    return [(place, before + entries) for place, before, entries in pairs]
