"""Runs that are left by one producer and go on by another."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest

from headgate import Closed, records
from headgate.runs import Runs, RunState, Step, Written
from headgate.runs.stored.orphans import WAITING
from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import WITHIN_S, Feed, left, of, read, read_to
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.runs.formats import FormatName

FINISHED = RunState("finished")


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@pytest.fixture
async def runs(url: str) -> AsyncIterator[Runs]:
    async with Runs(url, orphan_after=ORPHAN_AFTER_S, takeover_within=WITHIN_S) as runs:
        yield runs


async def test_a_run_of_a_closed_replica_is_taken_over_with_its_written_steps(
    runs: Runs, url: str
) -> None:
    reader = asyncio.create_task(_followed(runs, "a"))
    await left(url, "a", "Once ", Step("1", {"n": 1}), "upon ")
    assert await runs.state("a") == WAITING
    seen: list[Written] = []

    def source(written: Written) -> AsyncIterator[object]:
        seen.append(written)
        return of("a time") if written.items else of()

    late = await runs.follow("a", only_active=True)
    assert await runs.take_over("a", source) == FINISHED
    assert await runs.take_over("b", source) == RunState("failed", "the source gave nothing")
    assert seen == [Written(2, {"1": {"n": 1}}, ["upon "], "text"), Written()]
    assert (seen[0].last_step, seen[0].text) == ("1", "upon ")
    assert await reader == await read(late) == b"Once upon a time"
    assert await runs.state("a") == FINISHED


async def _followed(runs: Runs, run_id: str) -> bytes:
    return await read(await runs.follow(run_id, wait=10))


@pytest.mark.parametrize("format_", ["sse", "ai-sdk"])
@pytest.mark.parametrize("given", [["Once "], ["Once ", Step("1")]], ids=["text", "step"])
async def test_a_taken_over_run_reads_the_same_as_one_of_a_single_producer(
    runs: Runs, url: str, format_: FormatName, given: list[object]
) -> None:
    whole = await read(await runs.start("b", of(*given, "upon"), format=format_))
    await left(url, "a", *given, form=format_)
    await runs.take_over("a", lambda _: of("upon"), format=format_)
    assert (await _all(runs, "a")).replace(b'"a"', b'"b"') == whole


async def _all(runs: Runs, run_id: str) -> bytes:
    return await read(await runs.follow(run_id))


async def test_the_items_of_a_step_are_written_before_the_source_is_asked_for_its_next_item(
    runs: Runs, url: str
) -> None:
    words = [f"word-{number} " for number in range(999)]

    async def source() -> AsyncIterator[object]:
        yield "Once "
        yield Step("1", items=words)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/a") as answer:
            items = [item for item in await answer.json() if isinstance(item, str)]
        yield json.dumps(items)

    answer = await runs.start("a", source())
    assert (await read(answer)).decode().endswith(json.dumps(["Once ", *words]))


async def test_of_eight_concurrent_takeovers_of_a_run_one_succeeds(runs: Runs, url: str) -> None:
    await left(url, "a", "Once ")
    asked = (runs.take_over("a", lambda _: _slowly("upon")) for _ in range(8))
    found = await asyncio.gather(*asked)
    assert sorted(found, key=str) == [None] * 7 + [FINISHED]
    assert await _all(runs, "a") == b"Once upon"


async def _slowly(*items: object) -> AsyncIterator[object]:
    for item in items:
        yield item
        await asyncio.sleep(0.5)  # the others ask meanwhile


async def test_a_takeover_without_only_orphaned_replaces_an_active_producer(
    runs: Runs, url: str
) -> None:
    older = Feed("Once ")
    async with Runs(url, orphan_after=ORPHAN_AFTER_S, takeover_within=WITHIN_S) as stale:
        stale_turn = asyncio.create_task(
            stale.take_over("a", lambda _: older.source(), closes=False)
        )
        reader = await runs.follow("a", wait=10)
        await read_to(reader, b"Once ")
        found = await runs.take_over("a", lambda written: of(written.text), only_orphaned=False)
        assert found == FINISHED
        older.give("too late")
        assert await stale_turn == RunState("active")
        assert older.closed.is_set()
    assert await read(reader) == b"Once "


async def test_a_run_stays_active_over_several_turns_until_one_closes_it(
    runs: Runs, url: str
) -> None:
    reader = asyncio.create_task(_followed(runs, "a"))
    for word in ("Once ", "upon "):
        async with Runs(url, orphan_after=ORPHAN_AFTER_S, takeover_within=WITHIN_S) as turn:
            source = partial(lambda word, _: of(word, Step(word)), word)
            done = await turn.take_over("a", source, only_orphaned=False, closes=False)
            assert done == FINISHED
        assert await runs.state("a") == RunState("active")
    assert await runs.take_over("a", lambda _: of("a time"), only_orphaned=False) == FINISHED
    assert await reader == b"Once upon a time"
    # All steps are done there: an empty source ends it.
    await runs.take_over("b", lambda _: of("Once", Step("1")), closes=False)
    assert await runs.take_over("b", lambda _: of(), only_orphaned=False) == FINISHED


async def test_a_failed_turn_can_be_repeated_by_a_takeover(runs: Runs) -> None:
    feed = Feed("Once ", RuntimeError("the model is overloaded"))
    state = await runs.take_over("a", lambda _: feed.source(), closes=False)
    assert state == RunState("failed", "the source failed: RuntimeError")
    await runs.take_over("a", lambda written: of(*written.half), only_orphaned=False)
    assert await _all(runs, "a") == b"Once Once "
    assert await runs.state("a") == FINISHED


async def test_a_run_that_is_not_taken_over_in_time_ends_as_orphaned(url: str) -> None:
    async with Runs(url, orphan_after=1, takeover_within=2) as runs:
        feed = Feed("Once ")
        async with Runs(url, orphan_after=1, takeover_within=2) as replica:
            await read_to(await replica.start("a", feed.source(), format="sse"), b"\n\n")
            reader = asyncio.create_task(_followed(runs, "a"))
            await replica.aclose(wait=0)
        assert await runs.state("a") == WAITING
        # It is the reader that looks, and ends the run.
        assert b'{"status":"orphaned","error":"its producer is gone"}' in await reader
        assert await runs.state("a") == RunState("orphaned", "its producer is gone")
        with pytest.raises(Closed, match=r"\(orphaned\): it could be taken over for"):
            await runs.take_over("a", lambda _: of("too late"), format="sse")


async def test_a_run_can_be_stopped_while_it_waits_for_a_takeover_and_in_the_middle_of_one(
    runs: Runs, url: str
) -> None:
    await left(url, "a", "Once ")
    reader = await runs.follow("a")
    assert await runs.stop("a") is True
    assert await read(reader) == b"Once "
    with pytest.raises(Closed):
        await runs.take_over("a", lambda _: of("never"))
    feed = Feed("Once ")
    turn = asyncio.create_task(runs.take_over("b", lambda _: feed.source(), closes=False))
    await read_to(await runs.follow("b", wait=10), b"Once ")
    assert await runs.stop("b") is True
    stopped = RunState("stopped")
    assert [await turn, await runs.state("a"), await runs.state("b")] == [stopped] * 3


async def test_a_takeover_whose_source_raises_leaves_the_run_to_the_next_one(
    runs: Runs, url: str
) -> None:
    await left(url, "a", "Once ")

    def source(_: Written) -> AsyncIterator[object]:
        raise LookupError("there is no such thread")

    with pytest.raises(LookupError):
        await runs.take_over("a", source)
    assert await runs.state("a") == WAITING
    assert await runs.take_over("a", lambda _: of("upon")) == FINISHED


async def test_steps_and_half_a_step_beyond_their_bounds_are_refused_or_left_out(
    runs: Runs, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = len(records.step("1", msgspec.Raw(b'"x"')))
    monkeypatch.setattr("headgate.runs.stored.production.MOST_STEP_BYTES", 2 * step)
    monkeypatch.setattr("headgate.runs.stored.progress.MOST_HALF_BYTES", len(b'"Once ""upon "'))
    seen: list[Written] = []

    def source(written: Written) -> AsyncIterator[object]:
        seen.append(written)
        return of(Step("2", "x" if written.half else "xx"))

    await left(url, "a", Step("1", "x"), "Once ", "upon ")
    assert await runs.take_over("a", source) == FINISHED
    await left(url, "b", Step("1", "x"), "Once ", "upon ", "a ")
    error = f"the steps of a run hold no more than {2 * step:,} bytes"
    assert await runs.take_over("b", source) == RunState("failed", error)
    assert [(each.items, [*each.half]) for each in seen] == [(2, ["Once ", "upon "]), (3, [])]


async def test_leaving_a_run_open_requires_a_takeover_within(url: str) -> None:
    async with Runs(url) as runs:
        with pytest.raises(ValueError, match="takeover_within"):
            await runs.take_over("a", lambda _: of("Once"), closes=False)
        # Any other goes on as it may.
        assert await runs.take_over("a", lambda _: of("Once")) == FINISHED
        with pytest.raises(Closed, match=r"run 'a' has ended \(finished\): each run has an id"):
            await runs.take_over("a", lambda _: of("upon"))


async def test_a_run_silent_beyond_takeover_within_can_be_taken_over_once_its_producer_closes(
    url: str,
) -> None:
    async with Runs(url, orphan_after=1, takeover_within=1) as runs:
        feed = Feed("Once ")
        async with Runs(url, orphan_after=1, takeover_within=1) as replica:
            await read_to(await replica.start("a", feed.source()), b"Once ")
            loop = asyncio.get_running_loop()
            silent_until = loop.time() + 2
            await until(lambda: loop.time() > silent_until)
            await replica.aclose(wait=0)
        assert await runs.take_over("a", lambda _: of("upon")) == FINISHED
