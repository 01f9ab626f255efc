"""Look-ups in a stored run: how it ended, its number of items, and the place of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate.records import CUT
from headgate.runs.formats import NothingOpen
from headgate.runs.stored import marks
from headgate.runs.stored.marks import end_record
from headgate.runs.stored.survey import BEGINNING, survey, survey_if_there

if TYPE_CHECKING:
    from headgate.records import RunState
    from headgate.runs.stored.places import Place
    from headgate.runs.stored.survey import RunMark, StreamSurvey


async def how_it_ended(run: Place) -> RunState:
    """Return the end of a run whose stream is closed."""
    near = await _near_the_tail(run)
    if near is not None and near.end is not None:
        return near.end
    return (await survey(run.items)).end or CUT


async def item_count(run: Place) -> int:
    """Return how many items a run has by now."""
    near = await _near_the_tail(run)
    if near is not None and near.count is not None:
        return near.count
    return (await survey(run.items)).count or 0


async def mark_before(run: Place, count: int) -> RunMark:
    """Return a place in the run that has so many items before it or fewer, if need be none."""
    if not marks.is_far(count, 0):
        return BEGINNING
    hints = [hint for hint in await marks.entries_of(run.index) if hint.count <= count]
    if not hints:
        return BEGINNING
    seen = await survey_if_there(
        run.items, hints[-1].offset, until=lambda seen: seen.mark is not None
    )
    mark = None if seen is None else seen.mark
    return BEGINNING if mark is None or mark.count > count else mark


async def last_items(run: Place, state: RunState) -> list[bytes]:
    """Return what ends a run in place of its producer, in the way of its format."""
    unfinished = await _survey_of(run)
    ending = unfinished.completion.closing()
    if unfinished.form is not None:
        ending += unfinished.form.ending(state)
    return [end_record(state, unfinished.form, unfinished.count), *map(msgspec.json.encode, ending)]


async def _survey_of(run: Place) -> StreamSurvey:
    """Return what is to be known of a run that its producer has left."""
    near = await _near_the_tail(run)
    if (
        near is not None
        and near.form is not None
        and isinstance(near.form.completion(), NothingOpen)
    ):
        return near
    return await survey(run.items, completes=True)


async def _near_the_tail(run: Place) -> StreamSurvey | None:
    """Return what is seen from the last entry of the index on."""
    hints = await marks.entries_of(run.index)
    return await survey_if_there(run.items, hints[-1].offset) if hints else None
