"""Jobs that change many streams, over streams whose answers are set by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from admin.errors import NotTold
from admin.model.bulk import BulkJob, BulkStart, BulkWish
from admin.streams.bulk import job_files, open_job, tally
from admin.streams.bulk.job_files import JobFiles
from admin.streams.bulk.jobs import COUNT_IS_VALID_S, MOST_ENDED, MOST_OPEN, BulkJobs
from gateway.features.questions.streams import StreamDescription, StreamPage, StreamRow
from tests.admin.consoles import NOW
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from admin.model.streams import StreamSearch

ROUTE = "/v1/stream"


class Streams:
    """Streams by name, with their ids, in pages of two; `refusals` are raised one after another."""

    def __init__(self, *names: str) -> None:
        self.ids = {name: f"id-{name}" for name in names}
        self.refusals: dict[str, list[NotTold]] = {}
        self.routes = {ROUTE}
        self.gate = asyncio.Event()
        self.gate.set()

    async def streams(self, search: StreamSearch, *, after: str, limit: int) -> StreamPage:
        await self.gate.wait()
        rest = [it for it in sorted(self.ids) if it > after and search.contains in it]
        rows = tuple(StreamRow(name=it, size=10, stream_id=self.ids[it]) for it in rest[:2])
        return StreamPage(rows, rows[-1].name if len(rest) > 2 else None)

    async def stream(self, route: str, name: str) -> StreamDescription:
        if name not in self.ids:
            raise NotTold(404, "there is no such stream")
        return StreamDescription(StreamRow(name=name, size=10, stream_id=self.ids[name]), {})

    def check_route(self, route: str) -> None:
        if route not in self.routes:
            raise NotTold(404, "no route has this prefix")

    async def delete(self, route: str, name: str, stream_id: str | None) -> None:
        await self.gate.wait()
        if self.refusals.get(name):
            raise self.refusals[name].pop(0)
        if self.ids.get(name) != stream_id:
            raise NotTold(404, "there is no such stream")
        del self.ids[name]

    async def close_stream(self, route: str, name: str) -> str:
        await self.delete(route, name, self.ids.get(name))
        return "9"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow one another without a wait, and a close waits shortly for requests."""
    monkeypatch.setattr(open_job, "RETRY_AFTER_S", (0.0,) * 3)
    monkeypatch.setattr("admin.streams.bulk.jobs.CLOSE_S", 0.2)


def jobs_of(streams: Streams, folder: Path | None = None) -> BulkJobs:
    return BulkJobs(JobFiles(folder), streams, streams, lambda: NOW)


async def counted(jobs: BulkJobs, **wish: object) -> BulkJob:
    wanted = BulkWish(**{"action": "delete", "route": ROUTE, **wish})  # type: ignore[arg-type] # checked there
    job = await jobs.count(wanted, "ann")
    await jobs.rest(job.id, 20)
    return jobs.job(job.id)


async def done(jobs: BulkJobs, job: BulkJob) -> BulkJob:
    jobs.start(BulkStart(job.id, job.count.streams, 500), "bob")
    await jobs.rest(job.id, 20)
    return jobs.job(job.id)


def names(number: int) -> list[str]:
    return [f"s{at:03}" for at in range(number)]


async def test_a_stream_that_is_unavailable_for_a_moment_is_tried_again() -> None:
    streams = Streams(*names(5))
    streams.refusals["s002"] = [NotTold(503, "the log is away")] * 3
    jobs = jobs_of(streams)
    ended = await done(jobs, await counted(jobs))
    assert (ended.state, ended.progress.changed, ended.trouble) == ("done", 5, None)
    assert streams.ids == {}


async def test_a_job_goes_on_past_seven_unavailable_streams_and_fails_at_the_eighth() -> None:
    for number in (7, 8):
        streams = Streams(*names(40))
        for name in names(number):
            streams.refusals[name] = [NotTold(503, "the log is away")] * 9
        jobs = jobs_of(streams)
        ended = await done(jobs, await counted(jobs))
        assert ended.progress.failures[0].streams == number
        if number == 7:
            assert (ended.state, len(streams.ids)) == ("done", 7)
        else:
            assert (ended.state, ended.trouble) == ("failed", "the log is away")
            assert len(streams.ids) == 40


async def test_failures_are_counted_by_their_first_causes_and_the_rest_together() -> None:
    streams = Streams(*names(14))
    for at, name in enumerate(names(14)):
        streams.refusals[name] = [NotTold(403, f"cause {min(at, 12)} " + "x" * 500)]
    jobs = jobs_of(streams)
    ended = await done(jobs, await counted(jobs))
    failures = ended.progress.failures
    assert (ended.state, ended.progress.failed, len(failures)) == ("done", 14, 11)
    assert (failures[-1].cause, failures[-1].streams) == (tally.OTHERS, 4)
    assert max(len(it.cause) for it in failures) == tally.LONGEST_CAUSE


async def test_a_count_ends_where_its_names_have_no_more_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = len(b'["s000","id-s000"]\n')
    for lines, number in ((4, 4), (3.9, 2), (7, 7)):
        monkeypatch.setattr(job_files, "MOST_IN_MEMORY", int(line * lines))
        streams = Streams(*names(7))
        jobs = jobs_of(streams)
        job = await counted(jobs)
        assert (job.count.streams, job.count.is_cut) == (number, number < 7)
        ended = await done(jobs, job)
        assert (ended.progress.changed, sorted(streams.ids)) == (number, names(7)[number:])


async def test_a_job_whose_route_a_reload_has_removed_fails_and_counts_no_stream_as_gone() -> None:
    streams = Streams(*names(3))
    jobs = jobs_of(streams)
    job = await counted(jobs)
    streams.routes.clear()
    ended = await done(jobs, job)
    assert (ended.state, ended.trouble) == ("failed", "no route has this prefix")
    assert (ended.progress.gone, ended.left) == (0, 3)
    with pytest.raises(NotTold, match="no route"):
        await counted(jobs)


async def test_jobs_under_way_leave_no_room_for_another_one_and_ended_ones_are_bounded() -> None:
    streams = Streams("a")
    jobs = jobs_of(streams)
    for _ in range(MOST_ENDED + 3):
        assert (await counted(jobs, contains="missing")).state == "done"
    assert len(jobs.list()) == MOST_ENDED
    streams.gate.clear()
    counts = [jobs.count(BulkWish("delete", ROUTE), "ann") for _ in range(MOST_OPEN + 2)]
    begun = await asyncio.gather(*counts, return_exceptions=True)
    assert [isinstance(it, BulkJob) for it in begun] == [True] * MOST_OPEN + [False] * 2
    assert isinstance(begun[-1], NotTold)
    assert (begun[-1].status, "under way" in begun[-1].reason) == (409, True)
    await jobs.close()


async def test_names_with_a_search_are_refused() -> None:
    jobs = jobs_of(Streams("a"))
    for condition in ("begins", "contains", "glob"):
        with pytest.raises(NotTold, match="not both") as refusal:
            await counted(jobs, names=("a",), **{condition: "a"})
        assert refusal.value.status == 400


async def test_a_count_that_a_restart_cut_off_has_to_be_repeated_and_damaged_files_are_left_out(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "jobs"
    streams = Streams("a", "b")
    first = jobs_of(streams, folder)
    waiting = await counted(first)
    streams.gate.clear()
    counting = await first.count(BulkWish("delete", ROUTE), "ann")
    await first.close()
    (folder / "damaged.json").write_bytes(b"{")
    (folder / "other.json").write_bytes((folder / f"{waiting.id}.json").read_bytes())
    streams.gate.set()
    second = jobs_of(streams, folder)
    await second.open()
    assert {it.id: it.state for it in second.list()} == {
        waiting.id: "counted",
        counting.id: "failed",
    }
    assert "count again" in (second.job(counting.id).trouble or "")
    assert (await done(second, second.job(waiting.id))).progress.changed == 2
    third = jobs_of(streams, folder)
    await third.open()
    assert third.job(waiting.id) == second.job(waiting.id)


async def test_a_batch_that_the_end_of_the_server_cut_off_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_job, "RETRY_AFTER_S", (60.0,))
    streams = Streams(*names(open_job.AT_ONCE))
    streams.refusals["s003"] = [NotTold(503, "the log is away")]
    first = jobs_of(streams, tmp_path / "jobs")
    job = await counted(first)
    first.start(BulkStart(job.id, open_job.AT_ONCE, 500), "bob")
    await until(lambda: len(streams.ids) == 1)
    await first.close()
    second = jobs_of(streams, tmp_path / "jobs")
    await second.open()
    await second.rest(job.id, 20)
    ended = second.job(job.id)
    assert (ended.state, ended.progress.changed, ended.progress.gone) == ("done", 1, 7)
    assert ended.left == 0


async def test_a_count_can_be_confirmed_for_an_hour() -> None:
    now = NOW
    streams = Streams("a")
    jobs = BulkJobs(JobFiles(None), streams, streams, lambda: now)
    job = await counted(jobs)
    now = NOW + COUNT_IS_VALID_S + 1
    with pytest.raises(NotTold, match="count again") as refusal:
        await done(jobs, job)
    assert (refusal.value.status, list(streams.ids)) == (409, ["a"])
    now = NOW + COUNT_IS_VALID_S
    assert (await done(jobs, job)).progress.changed == 1


async def test_a_folder_that_cannot_be_written_refuses_a_count(tmp_path: Path) -> None:
    jobs = jobs_of(Streams("a"), tmp_path / "missing" / "jobs")
    with pytest.raises(NotTold, match="cannot be stored") as refusal:
        await counted(jobs)
    assert refusal.value.status == 503
