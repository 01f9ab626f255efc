"""Streams by path and by size: every log lists what it has, a page at a time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import LimitReached
from headgate_gateway.logs import memory, searches
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.logs.searches import PATHS_AT_ONCE
from tests.logs.abilities import needed
from tests.logs.contract import appended, committed, created, removed, replace
from tests.logs.contract import kind as kind
from tests.logs.contract import log as log
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.streams.state import StreamState

STREAMS = 1_500  # some pages
SEGMENTS = ["a", "b", "ab", "B", "z~", "%C3%A9", "a-", "a.b", "0"]


async def everything(log: Log, begins: str = "", limit: int = 500) -> list[str]:
    """All paths, page by page."""
    paths: list[str] = []
    after: str | None = ""
    while after is not None:
        listed = await needed(log.listing).page(begins, after, limit)
        assert len(listed.states) <= limit
        assert listed.after is None or listed.after > after
        paths += [state.path for state in listed.states]
        after = listed.after
    return paths


async def listed_are(log: Log, paths: set[str]) -> None:
    """Wait until just these are listed: in Redis the list follows a commit by a moment."""
    await until(lambda: _are(log, sorted(paths)))


async def _are(log: Log, paths: list[str]) -> bool:
    return await everything(log) == paths


async def test_listed_pages_equal_a_model_after_any_creations_and_removals(log: Log) -> None:
    chance = random.Random(5)
    paths = {
        "/".join([*chance.choices(SEGMENTS, k=chance.randint(0, 3)), str(number)])
        for number in range(STREAMS)
    }
    states = await _made(log, paths)
    for path in chance.sample(sorted(paths), STREAMS // 5):
        await log.commit([removed(states[path])])
        paths.discard(path)
    again = chance.sample(sorted(set(states) - paths), 50)
    for path in again:
        generation = states[path].generation + 1
        await log.commit([created(log, path, generation=generation)])
    paths |= set(again)
    await listed_are(log, paths)
    ordered = sorted(paths)
    for _ in range(100):
        sample = chance.choice(ordered)
        begins = sample[: chance.randint(0, len(sample))]
        after = chance.choice(["", begins, sample, chance.choice(ordered), f"{sample}~"])
        limit = chance.choice([1, 2, 50, 499])
        fitting = [path for path in ordered if path.startswith(begins) and path > after]
        listed = await needed(log.listing).page(begins, after, limit)
        assert [state.path for state in listed.states] == fitting[:limit]
        assert listed.after == (fitting[limit - 1] if len(fitting) > limit else None)
        matching = [path for path in fitting if "a" in path]
        found = await needed(log.listing).search(begins, after, lambda path: "a" in path, limit)
        assert found.paths == matching[:limit]
        assert found.after is not None or len(matching) <= limit


async def test_a_search_looks_through_all_names_at_once(log: Log) -> None:
    paths = {f"{number:05}" for number in range(2 * PATHS_AT_ONCE + 1)}
    await _made(log, paths)
    listing = needed(log.listing)
    last = max(paths)
    assert await listing.search("", "", last.__eq__, 1000) == ([last], len(paths), None)
    assert await listing.search("", "", "nowhere".__eq__, 1000) == ([], len(paths), None)


async def test_pages_of_a_search_have_every_name_that_fits_once(log: Log) -> None:
    paths = {f"{number:05}" for number in range(PATHS_AT_ONCE + 7)}
    await _made(log, paths)
    fits = [path for path in sorted(paths) if path.endswith("7")]
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await needed(log.listing).search("", after, lambda path: path.endswith("7"), 50)
        assert len(page.paths) <= 50
        found += page.paths
        after = page.after
    assert found == fits


async def test_a_search_that_takes_too_long_ends_and_goes_on_after_what_it_compared(
    log: Log, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _made(log, {"a", "b", "c"})
    await listed_are(log, {"a", "b", "c"})
    monkeypatch.setattr(searches, "SEARCH_S", 0.0)
    monkeypatch.setattr(memory, "LONGEST_SEARCH_S", 0.0)
    listing = needed(log.listing)
    if kind in {"memory", "toy"}:  # what was compared by then are not the first names
        with pytest.raises(LimitReached, match="takes too long"):
            await listing.search("", "", "c".__eq__, 9)
        return
    assert await listing.search("", "", "c".__eq__, 9) == ([], 1, "a")
    assert await listing.search("", "b", "c".__eq__, 9) == (["c"], 1, None)


async def _made(log: Log, paths: set[str]) -> dict[str, StreamState]:
    changes = [created(log, path) for path in sorted(paths)]
    await asyncio.gather(*(log.commit([change]) for change in changes))
    return {change.state.path: change.state for change in changes}


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_the_last_listed_page_has_no_successor(log: Log, limit: int) -> None:
    await _made(log, {"a", "b"})
    await listed_are(log, {"a", "b"})
    listed = await needed(log.listing).page("", "", limit)
    assert len(listed.states) == min(limit, 2)
    assert listed.after == ("a" if limit == 1 else None)


async def test_an_empty_log_lists_no_streams(log: Log) -> None:
    assert await needed(log.listing).page("", "", 50) == ([], None)
    assert await needed(log.listing).largest("", 10) == []


async def test_a_listed_stream_has_its_present_state(log: Log) -> None:
    change = await committed(log, created(log, "s", b"one", generation=7))
    second = await committed(log, appended(change.state, b"two", closed=True))
    await listed_are(log, {"s"})
    assert (await needed(log.listing).page("", "", 50)).states == [second.state]


async def test_a_creation_that_lost_a_race_is_not_listed(log: Log) -> None:
    await log.commit([created(log, "s")])
    with pytest.raises(Conflict):
        await log.commit([replace(created(log, "t"), expected=3)])
    await listed_are(log, {"s"})


async def test_streams_are_ranked_by_their_retained_size(log: Log) -> None:
    chance = random.Random(6)
    sizes = {f"a{number}": chance.randint(1, 2000) for number in range(300)}
    sizes |= {f"b{number}": 3000 for number in range(3)}
    changes = [created(log, path, b"x" * size) for path, size in sizes.items()]
    trimmed = created(log, "trimmed", b"x" * 9000)
    await asyncio.gather(*(log.commit([change]) for change in [*changes, trimmed]))
    await log.commit([appended(trimmed.state, first=8000)])
    sizes["trimmed"] = 1000
    await listed_are(log, set(sizes))
    ranked = sorted(((size, path) for path, size in sizes.items()), reverse=True)
    assert await needed(log.listing).largest("", 20) == ranked[:20]
    assert await needed(log.listing).largest("", 1000) == ranked
    assert (
        await needed(log.listing).largest("a", 5)
        == [it for it in ranked if it[1].startswith("a")][:5]
    )
