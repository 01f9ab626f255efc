"""Runs of the library on the console: what is shown of them, and the button that stops one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from headgate import records
from headgate.runs import Runs, Step
from headgate.sending.framing import JSON, json_array
from headgate_gateway.features.console.stream_list import StreamList
from headgate_gateway.features.runs import run_list, run_table
from tests.admin.consoles import ADMITTED, OPERATOR, VIEWER
from tests.admin.in_process import ROUTE, ScriptedConsole, running
from tests.support.given_settings import at as place_at
from tests.support.given_settings import variables
from tests.support.guarded_gateway import token, tokens_file
from tests.support.processes import Headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import SERVER_PATIENCE_S, until
from tests.workers.several import several

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import StreamState

WRITER = f"Bearer {token('all')}"
ORPHAN_AFTER_S = 1  # the shortest
HELD_S = 20  # of runs whose producer lives: a busy machine may keep its heartbeats back
# Begins two runs, and is silent from then on.
LEFT = """
import asyncio
from headgate.runs import Runs

async def words():
    yield "word"
    await asyncio.Event().wait()

async def main():
    runs = Runs({url!r}, authorization={writer!r}, orphan_after={orphan_after})
    await runs.start("left", words())
    await runs.start("taken", words())
    await asyncio.Event().wait()

asyncio.run(main())
"""
FIELD = re.compile(r'name="csrf" value="([^"]*)"')


async def counting(count: int, pause_s: float = 0.0) -> AsyncIterator[dict[str, int]]:
    for number in range(count):
        yield {"n": number}
        await asyncio.sleep(pause_s)


async def not_yet() -> bool:
    """Wait before the next look, which costs several processes some milliseconds."""
    await asyncio.sleep(0.03)
    return False


async def endless() -> AsyncIterator[str]:
    while True:
        yield "word "
        await asyncio.sleep(0.01)


async def failing(kind: type[Exception] = ConnectionError) -> AsyncIterator[str]:
    yield "word"
    raise kind("of which readers learn nothing")


class Console(ScriptedConsole):
    """The console of a server, and an application whose runs are in a folder of their own."""

    def __init__(self, http: aiohttp.ClientSession, admin: str, streams: str, folder: str) -> None:
        super().__init__(http, admin, f"{streams}/{folder}")
        self.folder = folder
        self.app = Runs(self.streams, authorization=WRITER, orphan_after=HELD_S)

    async def runs(self, **query: str) -> list[dict[str, Any]]:
        """Return the runs of the application, as they are listed."""
        found = (await self.get("runs", route=ROUTE, **query))["runs"]
        own = (it for it in found if it["name"].startswith(self.folder))
        return [{**it, "id": it["name"].rpartition("/")[2]} for it in own]

    async def run(self, run_id: str) -> dict[str, Any]:
        found = {it["id"]: it for it in await self.runs()}
        return found.get(run_id, {"status": None})

    async def shows(self, run_id: str, status: str) -> dict[str, Any]:
        """Return the run once it is shown with this status."""

        async def is_so() -> bool:
            return (await self.run(run_id))["status"] == status or await not_yet()

        await until(is_so, f"{run_id} is {status}", within_s=SERVER_PATIENCE_S)
        return await self.run(run_id)

    async def stop(self, run_id: str) -> bool:
        """Ask a run to stop; return whether it was asked."""
        wish = {"route": ROUTE, "name": f"{self.folder}/{run_id}"}
        status, done = await self.ask("POST", "runs/stop", wish)
        assert status == 200, done
        return bool(done["is_asked"])

    async def has_ended(self, run_id: str) -> None:
        """Wait until the application finds the end of a run."""

        async def is_so() -> bool:
            state = await self.app.state(run_id)
            return (state is not None and state.status != "active") or await not_yet()

        await until(is_so)

    async def run_to_its_end(self, run_id: str, source: AsyncIterator[object]) -> None:
        await self.app.start(run_id, source, format="sse")
        await self.has_ended(run_id)

    async def metrics(self) -> dict[str, float]:
        async with self.open("/metrics", token=VIEWER) as answer:
            text = await answer.text()
        lines = [line.rpartition(" ") for line in text.splitlines() if line[:1] != "#"]
        return {name: float(number) for name, _, number in lines}


def serving(origin: str, tokens: Path, **route: object) -> Headgate:
    """A server whose route is guarded and has runs; not started."""
    server = Headgate(
        environment={
            "HEADGATE_AUTH": "tokens",
            "HEADGATE_CREDENTIALS__TOKENS_FILE": str(tokens),
            **variables({"admin_tokens": ADMITTED}),
        }
    )
    server.serve_routes({"prefix": ROUTE, "storage": origin, "runs": True, **route})
    return server


@pytest.fixture(scope="module")
def server(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    started = serving("memory:", tokens_file(tmp_path_factory.mktemp("tokens")))
    try:
        yield started.start()
    finally:
        started.close()


@contextlib.asynccontextmanager
async def opened(admin: str, streams: str) -> AsyncIterator[Console]:
    """Yield a console with the runs of an application."""
    async with aiohttp.ClientSession() as http:
        made = Console(http, admin, streams, uuid.uuid4().hex)
        try:
            yield made
        finally:
            await made.app.aclose(wait=0)


@pytest.fixture
async def console(server: Headgate) -> AsyncIterator[Console]:
    async with opened(server.admin_url, server.streams) as made:
        yield made


def audited(server: Headgate, name: str) -> list[Mapping[str, Any]]:
    """The lines for an audit about a stream."""
    lines = [json.loads(line) for line in server.output().splitlines() if line[:1] == "{"]
    return [it for it in lines if it["event"].startswith("admin.change") and it["stream"] == name]


# ---------------------------------------------------------------- what is shown


async def test_a_long_reason_why_a_run_failed_keeps_its_beginning_on_the_page(
    console: Console,
) -> None:
    await console.app.start("named", failing(type("B" * 80, (Exception,), {})))
    reason = (await console.shows("named", "failed"))["error"]
    assert reason == f"the source failed: {'B' * 80}"
    query = {"route": ROUTE, "text": console.folder}
    async with console.open("/runs", query, Accept="text/html") as shown:
        assert f">{reason[:59]}…</span>" in await shown.text()


async def test_the_console_and_metrics_show_active_finished_and_failed_runs(
    console: Console,
) -> None:
    before = await console.metrics()
    await console.app.start("slow", endless())
    await console.app.start("quick", counting(40, 0.005), format="sse")
    await console.app.start("broken", failing())
    ended = await console.shows("quick", "finished")
    assert (ended["items"], ended["error"]) == (40, None)
    assert 0 < ended["first_item_after"] < ended["lasted"]
    assert ended["items_per_second"] == pytest.approx(39 / ended["lasted"], rel=0.6)
    failed = await console.shows("broken", "failed")
    assert (failed["items"], failed["error"]) == (1, "the source failed: ConnectionError")
    going_on = await console.shows("slow", "active")
    assert going_on["items"] > 0
    assert going_on["first_item_after"] is not None
    assert (await console.runs())[0]["id"] == "slow"
    assert [it["status"] for it in await console.runs(status="failed")] == ["failed"]
    after = await console.metrics()
    for name, more in (
        ('headgate_runs_started_total{route="/v1/stream"}', 3),
        ('headgate_runs_ended_total{route="/v1/stream",status="finished"}', 1),
        ('headgate_runs_ended_total{route="/v1/stream",status="failed"}', 1),
        ('headgate_run_duration_seconds_count{route="/v1/stream",status="finished"}', 1),
        ('headgate_run_first_item_seconds_count{route="/v1/stream"}', 3),
        ('headgate_run_seconds_per_item_count{route="/v1/stream"}', 1),
    ):
        assert after[name] - before[name] == more, name


async def test_chunks_added_by_the_library_do_not_count_as_the_first_item_of_a_run(
    console: Console,
) -> None:
    begin = asyncio.Event()

    async def waiting() -> AsyncIterator[str]:
        await begin.wait()
        yield "word"

    await console.app.start("chat", waiting(), format="ai-sdk")
    silent = await console.shows("chat", "active")
    assert (silent["items"], silent["first_item_after"]) == (1, None)  # the chunk `start`
    begin.set()
    ended = await console.shows("chat", "finished")
    assert ended["first_item_after"] >= 0


async def test_steps_are_not_counted_as_items_of_a_run(console: Console) -> None:
    async def source() -> AsyncIterator[object]:
        for number in range(3000):
            yield {"n": number, "text": "x" * 100}
        yield Step("done", value="y" * 40_000)

    await console.app.start("long-appends", source(), format="sse")
    assert (await console.shows("long-appends", "finished"))["items"] == 3000


@pytest.mark.usefixtures("processes")
async def test_a_run_of_a_killed_producer_is_shown_as_orphaned_until_taken_over(
    console: Console, server: Headgate
) -> None:
    program = LEFT.format(
        url=f"{server.streams}/{console.folder}", writer=WRITER, orphan_after=ORPHAN_AFTER_S
    )
    with subprocess.Popen([sys.executable, "-c", program]) as producer:
        try:

            async def are_written() -> bool:
                words = [it["items"] for it in await console.runs(status="active")]
                return words == [1, 1] or await not_yet()

            await until(are_written, within_s=SERVER_PATIENCE_S)
        finally:
            producer.kill()
    left = await console.shows("left", "orphaned")
    assert (left["error"], left["lasted"]) == ("its producer is gone", None)
    # Nobody but a reader writes that end; whoever stops the run writes another one.
    assert await console.stop("left")
    assert (await console.shows("left", "stopped"))["lasted"] > 0
    assert not await console.stop("left")
    await console.shows("taken", "orphaned")
    begin = asyncio.Event()

    async def more() -> AsyncIterator[str]:
        await begin.wait()
        yield "more"

    await console.app.start("taken", more())
    assert (await console.shows("taken", "active"))["items"] == 1
    begin.set()
    assert (await console.shows("taken", "finished"))["items"] == 2


async def test_streams_without_run_records_are_not_listed_as_runs(console: Console) -> None:
    await console.app.start("one", counting(1), format="sse")
    await console.shows("one", "finished")
    fields = {"Authorization": WRITER, "Content_Type": "application/json"}
    assert await console.send("PUT", "other", b'[{"type":"chat"}]', **fields) == 201
    fields |= {"Producer_Id": "run", "Producer_Epoch": "0", "Producer_Seq": "0"}
    assert await console.send("POST", "other", b"[1]", **fields) == 200
    assert [it["id"] for it in await console.runs()] == ["one"]


# ---------------------------------------------------------------- stop


async def test_an_operator_stops_a_run_with_the_button_and_is_logged(
    console: Console, server: Headgate
) -> None:
    await console.app.start("long", endless())
    await console.shows("long", "active")
    name, query = f"{console.folder}/long", {"route": ROUTE, "status": "active"}
    page = {"Accept": "text/html", "Authorization": f"Bearer {OPERATOR}"}
    async with console.open("/runs", query, Accept="text/html") as shown:
        text = await shown.text()
        assert f'form="stop" name="name" value="{name}"' in text
        (csrf,) = FIELD.findall(text) or [""]
    form, path = {"csrf": csrf, "name": name}, f"{console.admin}/runs"
    async with console.http.post(path, params=query, data=form, headers=page) as stopped:
        assert stopped.url.query == {**query, "done": "asked"}
        assert "The run was asked to stop." in await stopped.text()
    await console.has_ended("long")
    assert (await console.shows("long", "stopped"))["lasted"] > 0
    (line,) = audited(server, name)
    said = [line[it] for it in ("event", "operation", "route", "by")]
    assert said == ["admin.changed", "stop", ROUTE, "shop"]


async def test_stopping_an_ended_or_unknown_run_is_answered_with_the_reason(
    console: Console, server: Headgate
) -> None:
    await console.run_to_its_end("over", counting(1))
    text = f"{console.folder}/text"
    fields = {"Content_Type": "text/plain", "Authorization": WRITER}
    assert await console.send("PUT", "text", b"words", **fields) == 201
    no_run = "this stream is not a run: it does not hold JSON"
    for route, name, answer in (
        (ROUTE, text, (409, no_run)),
        (ROUTE, f"{console.folder}/over", (200, {"is_asked": False})),
        (ROUTE, f"{console.folder}/never", (200, {"is_asked": False})),
        ("/nowhere", "one", (404, "no route with runs = true has this prefix")),
        (ROUTE, "%FF", (400, "the path is not UTF-8")),
    ):
        stop = {"route": route, "name": name}
        status, told = await console.ask("POST", "runs/stop", stop)
        assert (status, told.get("detail", told)) == answer
    assert [line["event"] for line in audited(server, "%FF")] == ["admin.change_failed"]


# ---------------------------------------------------------------- what the log tells


@pytest.mark.usefixtures("processes")
async def test_a_restarted_gateway_finds_runs_in_its_log(tmp_path: Path) -> None:
    server = serving(f"file:{tmp_path / 'data'}", tokens_file(tmp_path))
    try:
        server.start()
        async with opened(server.admin_url, server.streams) as console:
            await console.run_to_its_end("over", counting(30))
            await console.run_to_its_end("broken", failing())
            await console.app.start("goes-on", endless())
            await console.run_to_its_end("longer", counting(2_500))
            server.kill()
            server.start()
            ended = await console.shows("over", "finished")
            assert (ended["items"], ended["first_item_after"], ended["lasted"]) == (30, None, None)
            assert ended["started_at"] is not None
            assert (await console.shows("longer", "finished"))["items"] == 2_500
            assert (await console.shows("broken", "failed"))["items"] == 1
            before = (await console.shows("goes-on", "active"))["items"]

            async def goes_on() -> bool:
                found = await console.run("goes-on")
                rate = found["items_per_second"]  # which two appends tell
                is_so = found["items"] > before and rate is not None and rate > 0
                return bool(is_so) or await not_yet()

            await until(goes_on)
            assert await console.stop("goes-on")
            await console.shows("goes-on", "stopped")
    finally:
        server.close()


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
async def test_runs_seen_by_two_workers_are_listed_and_counted_once(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis") as redis,
        several(redis.url, route={"runs": True}, admin_tokens=ADMITTED) as server,
    ):
        # Each of several applications has connections of its own, which the workers share out.
        async with contextlib.AsyncExitStack() as stack:
            consoles = [
                await stack.enter_async_context(opened(server.admin_url, server.streams))
                for _ in range(4)
            ]
            for console in consoles:
                await console.app.start("quick", counting(200, 0.001), format="sse")
                await console.app.start("slow", endless())
            for console in consoles:
                ended = await console.shows("quick", "finished")
                assert ended["items"] == 200
                assert 0 <= ended["first_item_after"] <= ended["lasted"]
                going_on = await console.shows("slow", "active")
                assert going_on["first_item_after"] is not None
                assert await console.stop("slow")
                await console.shows("slow", "stopped")
            numbers = await consoles[0].metrics()
            assert numbers['headgate_runs_started_total{route="/v1/stream"}'] == 8
            assert numbers['headgate_runs_ended_total{route="/v1/stream",status="stopped"}'] == 4

            async def pages_are_the_whole() -> bool:
                whole = await paged(consoles[0], 100)
                is_whole = len(whole) == 8 and await paged(consoles[0], 3) == whole
                return is_whole or await not_yet()

            # A worker knows after a moment what has ended through another one.
            await until(pages_are_the_whole)


async def paged(console: Console, limit: int) -> list[str]:
    """Return the names of all runs, page by page."""
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        told = await console.get("runs", route=ROUTE, limit=limit, after=after)
        names += [it["name"] for it in told["runs"]]
        after = told["after"]
    return names


# ---------------------------------------------------------------- bounds


@contextlib.asynccontextmanager
async def inside_of(url: str) -> AsyncIterator[Console]:
    """Yield the console of a gateway in this process, whose bounds a test can change."""
    async with (
        running({"prefix": ROUTE, **place_at(url), "runs": True}) as gateway,
        opened(gateway.admin, gateway.streams) as made,
    ):
        yield made


@pytest.fixture
async def inside() -> AsyncIterator[Console]:
    async with inside_of("memory:") as made:
        yield made


async def test_a_full_run_table_keeps_active_and_newest_runs(
    monkeypatch: pytest.MonkeyPatch, inside: Console
) -> None:
    monkeypatch.setattr(run_table, "MOST_RUNS", 3)
    await inside.app.start("goes-on", endless())
    for last, kept in (("one", {"one"}), ("two", {"one", "two"}), ("three", {"two", "three"})):
        await inside.run_to_its_end(last, counting(1))
        assert {it["id"] for it in await inside.runs()} == {"goes-on", *kept}
    numbers = await inside.metrics()
    assert numbers['headgate_runs_known{route="/v1/stream"}'] == 3
    assert numbers['headgate_runs_forgotten_total{route="/v1/stream"}'] == 1


async def test_concurrent_run_lists_share_one_look_at_an_active_run(
    monkeypatch: pytest.MonkeyPatch, inside: Console
) -> None:
    looked_at: list[str] = []
    present = StreamList.present

    async def noted(self: StreamList, path: str) -> StreamState | None:
        looked_at.append(path)
        return await present(self, path)

    monkeypatch.setattr(StreamList, "present", noted)
    await inside.app.start("one", endless())
    monkeypatch.setattr(run_list, "LOOK_VALID_S", 1000.0)
    found = await asyncio.gather(*(inside.runs() for _ in range(5)))
    assert [it["status"] for (it,) in found] == ["active"] * 5
    beside = [f"{inside.folder}/one/{name}" for name in ("lease", "stop")]
    assert looked_at == [*beside, f"{inside.folder}/one"]
    monkeypatch.setattr(run_list, "LOOK_VALID_S", 0.0)
    await inside.runs()
    assert len(looked_at) == 6


async def test_the_search_for_runs_in_a_large_log_is_cut_at_its_limit(
    monkeypatch: pytest.MonkeyPatch, inside: Console
) -> None:
    monkeypatch.setattr(run_list, "MOST_LOOKED_AT", 2)
    monkeypatch.setattr(run_list, "PAGE_OF_LOG", 1)
    await inside.app.start("one", endless())  # three streams: the run, and its lease beside it
    await inside.app.start("two", endless())
    told = await inside.get("runs", route=ROUTE)
    assert told["is_cut"]
    assert len(told["runs"]) == 2  # seen as they began


async def test_items_written_before_a_restart_are_counted_up_to_a_length_of_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    end = records.end(records.STOPPED)  # without a count, as that of a writer that has failed
    async with inside_of(f"file:{tmp_path}") as console:
        for run_id, count in (("one", 100), ("one-more", 101)):
            items = [json.dumps({"n": number}).encode() for number in range(count)]
            body = json_array([records.opening("sse"), records.claim(), *items, end])
            run = console.app._place(run_id).items
            await run.create(content_type=JSON, is_closed=True, body=body)
        described = await console.get("stream", route=ROUTE, name=f"{console.folder}/one")
    monkeypatch.setattr(run_list, "MOST_COUNTED_BYTES", described["row"]["size"])
    async with inside_of(f"file:{tmp_path}") as again:
        again.folder = console.folder
        found = {it["id"]: it for it in await again.runs()}
    assert (found["one"]["items"], found["one-more"]["items"]) == (100, None)
    assert found["one-more"]["status"] == "stopped"
