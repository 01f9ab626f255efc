"""Runs from their start to their end, as an application and its other replica see them."""

from __future__ import annotations

import asyncio
import gc

import aiohttp
import anyio
import pytest

from headgate.chats import Chats
from headgate.errors import Closed, Unavailable
from headgate.runs import Runs, RunState
from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import Feed, of, read, read_to
from tests.support.waiting import PATIENCE_S, until


async def test_a_finished_run_is_read_at_any_replica_after_any_item_and_not_started_again(
    runs: Runs, other: Runs
) -> None:
    assert (await other.follow("a"), await other.state("a")) == (None, None)
    assert await other.stop("a") is False
    assert await read(await runs.start("a", of("Once ", "upon ", "a time"))) == b"Once upon a time"
    for after, rest in ((None, b"Once upon a time"), (1, b"upon a time"), (-1, b"a time")):
        assert await read(await other.follow("a", after)) == rest
    assert await other.follow("a", 3) is None
    assert await other.state("a") == RunState("finished")
    with pytest.raises(Closed, match=r"'a' has ended \(finished\): each run has an id of its own"):
        await other.start("a", of("again"))


@pytest.mark.smoke
async def test_a_run_goes_on_when_nobody_reads(runs: Runs, other: Runs) -> None:
    feed = Feed("Once ")
    answer = await runs.start("a", feed.source())
    assert await read_to(answer, b"Once ") == b"Once "
    await answer.body.aclose()
    feed.give("upon ")
    second, ahead = await other.follow("a"), await other.follow("a", 3)
    assert await read_to(second, b"upon ") == b"Once upon "
    assert await other.state("a") == RunState("active")
    feed.give("a ", "time")
    feed.end()
    assert await read(second) == b"a time"
    assert await read(ahead) == b"time"  # it has waited for that


async def test_readers_that_leave_a_starlette_app_leave_no_exception_that_nobody_retrieves(
    runs: Runs,
) -> None:
    unretrieved: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unretrieved.append(context))
    await read(await runs.start("a", of("Once ", "upon ", "a time")))
    for turns in range(24):  # of the loop, before the client leaves
        answer = await runs.follow("a")
        async with anyio.create_task_group() as group:  # cancelled: each further await raises, too
            group.start_soon(read, answer)
            for _ in range(turns):
                await asyncio.sleep(0)
            group.cancel_scope.cancel()
    await until(lambda: not any("asend" in f"{task}" for task in asyncio.all_tasks()))
    gc.collect()
    assert unretrieved == []


async def test_following_with_wait_before_the_start_returns_the_run_once_started(
    runs: Runs, other: Runs
) -> None:
    early = asyncio.create_task(other.follow("a", wait=PATIENCE_S))
    active = asyncio.create_task(other.follow("a", only_active=True, wait=PATIENCE_S))
    assert await other.follow("a", wait=0.1) is None
    feed = Feed("Once ")
    await runs.start("a", feed.source())
    answers = [await early, await active]
    feed.end()
    assert [await read(answer) for answer in answers] == [b"Once ", b"Once "]


@pytest.mark.smoke
async def test_a_stop_from_another_replica_closes_the_source(runs: Runs, other: Runs) -> None:
    feed = Feed("Once ")
    answer = await runs.start("a", feed.source())
    await read_to(answer, b"Once ")
    assert await other.stop("a") is True
    assert await read(answer) == b""
    assert feed.closed.is_set()
    assert await other.state("a") == RunState("stopped")
    assert await other.stop("a") is False


async def test_a_second_start_takes_the_run_over_and_closes_the_first_source(
    runs: Runs, other: Runs
) -> None:
    older, newer = Feed("Once "), Feed("again ")
    first = await runs.start("a", older.source())
    await read_to(first, b"Once ")
    second = await other.start("a", newer.source())
    assert await read_to(second, b"again ") == b"Once again "
    older.give("upon ")
    await older.closed.wait()
    newer.give("a time")
    newer.end()
    assert await read(second) == b"a time"
    assert await read(first) == b"again a time"


async def test_a_takeover_with_a_longer_orphan_after_keeps_the_lease_alive(
    runs: Runs, url: str
) -> None:
    """As in a rolling deployment. Its own heartbeats would come too late for the lease."""
    await read_to(await runs.start("a", Feed("Once ").source()), b"Once ")
    newer = Feed("again ")
    async with Runs(url, orphan_after=60) as other:
        answer = await other.start("a", newer.source())
        assert await read_to(answer, b"again ") == b"Once again "
        await asyncio.sleep(2 * ORPHAN_AFTER_S)  # the promise is what does not happen meanwhile
        assert await runs.state("a") == RunState("active")
        newer.end()
        assert await read(answer) == b""


async def test_of_ten_concurrent_producers_of_a_run_one_writes_to_the_end(runs: Runs) -> None:
    feeds = [Feed() for _ in range(10)]
    answers = await asyncio.gather(*(runs.start("a", feed.source()) for feed in feeds))
    for number, feed in enumerate(feeds):
        feed.give(str(number))
        feed.end()
    bodies = [await read(answer) for answer in answers]
    assert bodies == [bodies[0]] * 10
    assert len(bodies[0]) == 1
    assert await runs.state("a") == RunState("finished")


async def test_closing_runs_fails_what_they_produce_and_ends_all_who_wait_for_them(
    runs: Runs, other: Runs
) -> None:
    theirs, ours = Feed("Once "), Feed("Once ")
    await other.start("theirs", theirs.source(), format="sse")
    await runs.start("ours", ours.source(), format="sse")
    reading = []
    for reader, run_id in ((runs, "theirs"), (runs, "ours"), (other, "ours")):
        answer = await reader.follow(run_id)
        assert await read_to(answer, b"\n\n") == b'id: 1\ndata: "Once "\n\n'
        reading.append(asyncio.create_task(read(answer)))
    early = asyncio.create_task(runs.follow("early", wait=PATIENCE_S))
    assert await runs.follow("none") is None  # they wait now
    await runs.aclose(wait=0)
    assert ours.closed.is_set()
    assert not theirs.closed.is_set()
    assert all(each.done() for each in reading[:2])
    with pytest.raises(Unavailable):
        await early
    with pytest.raises(Unavailable, match="the reading of the run was closed"):
        await reading[0]  # so its reader asks again
    end = b'"status":"failed","error":"the application was shut down"'
    assert end in await reading[1]
    assert end in await reading[2]
    assert await other.state("ours") == RunState("failed", "the application was shut down")


async def test_runs_that_are_entered_again_while_they_close_are_open(runs: Runs) -> None:
    feed = Feed("Once ")
    await runs.start("a", feed.source())
    closing = asyncio.create_task(runs.aclose())
    await asyncio.sleep(0)
    async with runs:
        assert await runs.state("a") == RunState("active")
        assert await read(await runs.start("b", of("upon"))) == b"upon"
        feed.end()
        await closing
        assert await runs.state("a") == RunState("finished")


def test_closed_runs_and_their_chats_open_when_they_are_entered_in_another_loop(url: str) -> None:
    """As in a test suite with an application in a module, and a `TestClient` in each test."""
    runs = Runs(url)
    chats = Chats(runs)
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "why?"}]}

    async def use(name: str) -> None:
        async with runs:
            assert await read(await runs.start(name, of("Once"))) == b"Once"
            await read(await chats.send(name, message, lambda _: of("Once")))
            assert len((await chats.history(name)).messages) == 2

    async def forget() -> None:
        assert await runs.state("a") is not None
        await runs._opening.own_session.close()  # type: ignore[union-attr]

    asyncio.run(use("a"))
    asyncio.run(use("b"))
    with pytest.raises(RuntimeError, match="`async with` opens it again"):
        asyncio.run(forget())
    fresh = Runs(url)
    runs = fresh
    asyncio.run(forget())  # and without a close
    with pytest.raises(RuntimeError, match=r"first used it: make another, or .* enter it here"):
        asyncio.run(forget())
    chats = Chats(runs)
    asyncio.run(use("c"))


async def test_runs_are_not_entered_while_another_loop_uses_them_or_without_their_session(
    runs: Runs, url: str
) -> None:
    async def enter() -> None:
        async with runs:
            pass

    await runs.state("a")
    with pytest.raises(RuntimeError, match="Runs belongs to the event loop that first used it"):
        await asyncio.to_thread(asyncio.run, enter())
    async with aiohttp.ClientSession() as session:
        given = Runs(url, session=session)
        async with given:
            await given.state("a")
    with pytest.raises(RuntimeError, match="the session that Runs was given is closed"):
        await given.__aenter__()


async def test_an_ended_run_leaves_no_task_and_no_entry(runs: Runs) -> None:
    before = asyncio.all_tasks()
    await read(await runs.start("a", of("Once")))
    await until(lambda: asyncio.all_tasks() <= before)
    await asyncio.sleep(0)  # what follows the end of a task is called in the loop's next pass
    with pytest.raises(LookupError, match="run 'a' is not produced here"):
        runs.stopped("a")


async def test_runs_left_unclosed_are_closed_with_a_warning_without_the_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    Runs(url)  # of one that was never used, nothing is said
    gc.collect()
    secret = url.replace("http://", "http://ann:s3cret@")
    forgotten = Runs(secret)
    assert await forgotten.state("a") is None
    session = forgotten._opening.own_session  # that it is closed shows nowhere else
    assert session is not None
    with pytest.warns(ResourceWarning) as warned:
        del forgotten
    told = f"Runs({url!r}) was not closed: use it in `async with`, or call its `aclose`"
    assert [str(warning.message) for warning in warned] == [told]
    said = [record.getMessage() for record in caplog.records if record.name == "headgate.runs"]
    assert said == [told]
    await until(lambda: session.closed)
