"""The list of a route's runs, for the console: those written through this process, and the log's.

Runs that were written before this process started, or through another gateway, are searched in the
log when a page is requested. The status of a run follows from its streams (`headgate.records`).
Nothing here counts as a use of a stream.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, NamedTuple

from headgate import names, records
from headgate.records import ACTIVE, STOPPED, Note, RunState, last_note
from headgate.shielding import shielded
from headgate_gateway.features.questions.after import decode_after, encode_after
from headgate_gateway.features.questions.runs import RunPage, RunRank, RunRow
from headgate_gateway.features.questions.streams import LARGEST_PAGE
from headgate_gateway.features.runs.run_entry import contents_of, whole_contents_of
from headgate_gateway.features.runs.run_table import BESIDE, MOST_RUNS
from headgate_gateway.protocol.bodies.content import is_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.features.console.stream_list import StreamList
    from headgate_gateway.features.questions.runs import ListRuns
    from headgate_gateway.features.runs.run_entry import RunEntry
    from headgate_gateway.features.runs.run_table import RunTable
    from headgate_gateway.protocol.streams.state import StreamState
    from headgate_gateway.streams.stream_table import StreamTable

# Streams of the log that are searched for runs: the states of so many take a third of a second.
MOST_LOOKED_AT = 20_000
PAGE_OF_LOG = 500
SURVEY_VALID_S = 60.0  # in a log that other gateways write to; else one survey is enough
LOOK_VALID_S = 1.0  # of an active run: pages are rendered again every two seconds
AT_ONCE = 32  # concurrent looks at the log
# Of a stream whose items were not counted when they were written. It is one chunk of a log.
MOST_COUNTED_BYTES = 256 << 10
TAIL_BYTES = 32 << 10  # that are searched for the record of the end, beside the last items


class RunDoubt(NamedTuple):
    """A status that the streams beside a run seem to say, and the loop time since they do."""

    found: RunState
    since: float


class RunLook(NamedTuple):
    """A run and its status; `state` is its stream if the log was read for that."""

    run: RunEntry
    status: RunState
    state: StreamState | None
    doubt: RunDoubt | None = None

    @property
    def rank(self) -> RunRank:
        """The run's place in the sorted list."""
        return RunRank.of(self.status.status, self.run.created_at, self.run.path)


class RunList:
    """The runs of one route, as pages in a sorted order."""

    def __init__(self, streams: StreamTable, listed: StreamList, runs: RunTable) -> None:
        self._streams = streams
        self._listed = listed
        self._runs = runs
        self._survey: asyncio.Task[None] | None = None
        self._surveyed_at: float | None = None
        self._turn = asyncio.Lock()  # so that only one request looks at a time
        self._looks_at: dict[str, tuple[float, RunLook]] = {}  # loop time and look, by path
        self._is_cut = False  # True if the log has more streams than are searched

    async def page(self, question: ListRuns) -> RunPage:
        """Return the page for a question. Raises BadRequest, LogUnavailable."""
        after = decode_after(question.after, RunRank)
        await self._ensure_survey()
        looks = [
            look
            for look in await self._looks()
            if question.status in {None, look.status.status}
            and (after is None or look.rank > after)
        ]
        limit = max(1, min(question.limit, LARGEST_PAGE))
        page = heapq.nsmallest(limit, looks, key=lambda look: look.rank)
        rows = [row for look in page if (row := await self._row(look)) is not None]
        more = encode_after(page[-1].rank) if len(looks) > limit else None
        return RunPage(tuple(rows), more, self._is_cut)

    # Known runs

    async def _looks(self) -> list[RunLook]:
        """Return the status of all known runs, which is final for ended ones.

        The status of an active run is at most LOOK_VALID_S old.
        """
        async with self._turn:
            return await self._look_at_all()

    async def _look_at_all(self) -> list[RunLook]:
        known = list(self._runs)
        self._looks_at = {
            run.path: cached for run in known if (cached := self._looks_at.get(run.path))
        }
        found = [RunLook(run, run.end, None) for run in known if run.end is not None]
        others = [run for run in known if run.end is None]
        for begin in range(0, len(others), AT_ONCE):
            looks = await asyncio.gather(*map(self._look, others[begin : begin + AT_ONCE]))
            found += [look for look in looks if look is not None]
        return found

    async def _look(self, run: RunEntry) -> RunLook | None:
        """Return the status of a run without a known end; None if there is no such run."""
        now = asyncio.get_running_loop().time()
        before = self._looks_at.get(run.path)
        if before is not None and before[1].run is run and now - before[0] < LOOK_VALID_S:
            return before[1]
        # First what is beside the run: its producer ends the run before it gives the lease up.
        found, doubt = await self._beside(
            run, None if before is None or before[1].run is not run else before[1].doubt
        )
        state = await self._present(run)
        if state is None:
            return None
        run.is_run = run.is_run or await self._is_run(state)
        if not run.is_run:
            self._forget(run)
            return None
        if state.closed and run.end is None:
            await self._find_end(run, state)
        status = run.end or (records.CUT if state.closed else found)
        if status.status != "active":
            self._runs.settle(run)
        look = RunLook(run, status, state, doubt)
        self._looks_at[run.path] = now, look
        return look

    async def _beside(self, run: RunEntry, before: RunDoubt | None) -> tuple[RunState, RunDoubt]:
        """Return what the streams beside a run say of it, once they have said so for long enough.

        A producer of a server that was away has the time to take its lease again.
        """
        is_held = await self._has(run, names.LEASE)
        stop = await self._listed.present(f"{run.path}/{names.STOP}")
        is_to_stop = stop is not None and stop.closed
        now = asyncio.get_running_loop().time()
        if await self._has(run, names.GRACE) if is_to_stop else is_held:
            return ACTIVE, RunDoubt(ACTIVE, now)
        found = STOPPED if is_to_stop else records.ORPHANED
        doubt = RunDoubt(found, now) if before is None or before.found != found else before
        note = await self._last_note(stop)
        is_sure = now - doubt.since >= note.patience_s(is_to_stop=is_to_stop)
        return found if is_sure else ACTIVE, doubt

    async def _has(self, run: RunEntry, name: str) -> bool:
        return await self._listed.present(f"{run.path}/{name}") is not None

    async def _last_note(self, stop: StreamState | None) -> Note:
        """Return the last note of the run's producer."""
        last = None
        if stop is not None:
            start = max(stop.first, stop.tail - TAIL_BYTES)  # others may append to it
            chunk = await self._streams.log.read(stop, start, stop.tail)
            for data in chunk.records:
                last = last_note(b"[%b]" % data) or last
        return last or Note()

    async def _present(self, run: RunEntry) -> StreamState | None:
        """Return the stream of the run; if it was deleted, forget the run."""
        state = await self._listed.present(run.path)
        if state is None or state.stream_id != run.stream_id:
            self._forget(run)
            return None
        return state

    def _forget(self, run: RunEntry) -> None:
        if self._runs.get(run.path) is run:
            self._runs.remove(run.path)

    async def _is_run(self, state: StreamState) -> bool:
        """Return whether the first record is that of a run."""
        chunk = await self._streams.log.read(state, state.first, state.first + 1)
        run_records = contents_of(chunk.records[0]).run_records if chunk.records else []
        return bool(run_records) and run_records[0].format is not None

    async def _find_end(self, run: RunEntry, state: StreamState) -> None:
        """Read the end of a run whose stream is closed."""
        start = max(state.first, state.tail - TAIL_BYTES)
        end, count = records.CUT, None
        while start < state.tail:
            chunk = await self._streams.log.read(state, start, state.tail)
            for record in (it for data in chunk.records for it in contents_of(data).run_records):
                if record.end is not None:
                    end, count = record.end, record.count
            if chunk.end <= start:
                break
            start = chunk.end
        run.end, run.stored.reported = end, count

    async def _row(self, look: RunLook) -> RunRow | None:
        run = look.run
        state = look.state or await self._present(run)
        if state is None:
            return None
        await self._count(run, state)
        counted = run.stored.reported
        # A read may have brought newer ones.
        if counted is None and run.stored.counted_to >= state.tail:
            counted = run.stored.counted
        return RunRow(
            name=run.path,
            status=look.status.status,
            error=look.status.error,
            created_at=run.created_at,
            started_at=run.wall(run.started_at) if run.is_whole else None,
            first_item_at=run.wall(run.first_at),
            last_item_at=run.wall(run.last_at),
            ended_at=run.wall(run.ended_at),
            items=run.items,
            first_items=run.first_items,
            seen_bytes=run.size,
            size=state.tail,
            counted=counted,
        )

    async def _count(self, run: RunEntry, state: StreamState) -> None:
        """Count the items of a short run, unless all of them were written through this process."""
        if (
            run.size == state.tail
            or state.tail > MOST_COUNTED_BYTES
            or run.stored.reported is not None
        ):
            return
        while run.stored.counted_to < state.tail:
            chunk = await self._streams.log.read(
                state, max(run.stored.counted_to, state.first), state.tail
            )
            if chunk.end <= run.stored.counted_to:
                return
            run.stored.counted += sum(whole_contents_of(data).items for data in chunk.records)
            run.stored.counted_to = chunk.end

    # Further runs of the log

    async def _ensure_survey(self) -> None:
        """Add the newest runs of the log: once, or every SURVEY_VALID_S in a shared log."""
        now = asyncio.get_running_loop().time()
        if self._surveyed_at is not None and (
            not self._streams.is_shared or now - self._surveyed_at < SURVEY_VALID_S
        ):
            return
        if self._survey is None:
            self._survey = asyncio.get_running_loop().create_task(self._search_log())
        try:
            await shielded(self._survey)
        finally:
            if self._survey is not None and self._survey.done():
                self._survey = None
        self._surveyed_at = now

    async def _search_log(self) -> None:
        listing = self._streams.log.listing
        if listing is None:  # only runs written through this process can be listed
            self._is_cut = True
            return
        newest: list[tuple[int, str, StreamState | None]] = [
            (run.created_at or 0, run.path, None) for run in self._runs
        ]
        after: str | None = ""
        looked_at = 0
        while after is not None and looked_at < MOST_LOOKED_AT:
            listed = await listing.page("", after, PAGE_OF_LOG)
            looked_at += len(listed.states)
            after = listed.after
            newest += [(it.created_at or 0, it.path, it) for it in self._candidates(listed.states)]
            newest = heapq.nlargest(MOST_RUNS, newest, key=lambda it: it[:2])
        self._is_cut = after is not None
        for _, _, state in reversed(newest):  # the oldest first, in the order of the table
            if state is not None:
                await self._add_if_run(state)

    def _candidates(self, states: Iterable[StreamState]) -> Iterable[StreamState]:
        for state in states:
            is_other = state.path.endswith(BESIDE) or not is_json(state.content_type)
            if not (is_other or state.soft_deleted or self._runs.get(state.path)):
                yield state

    async def _add_if_run(self, state: StreamState) -> None:
        present = await self._listed.present(state.path)
        if present is None or not await self._is_run(present):
            return
        if self._runs.get(state.path) is None:  # else it was added meanwhile
            self._runs.add(present, is_whole=False).is_run = True

    async def close(self) -> None:
        """End the survey that is under way."""
        if self._survey is not None:
            self._survey.cancel()
            await asyncio.gather(self._survey, return_exceptions=True)
