"""Copies from log to log: offsets, retention, forks and lifetimes, and what is refused."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import pytest

from headgate_gateway.protocol.streams.limits import EVERYTHING, Retention
from headgate_gateway.protocol.streams.state import Lifetime, Stamp
from headgate_gateway.tools.copying import queue
from headgate_gateway.tools.copying.log_place import LogPlace
from headgate_gateway.tools.copying.operation import CopyRequest, copy
from tests.commands.conftest import CommandLine
from tests.commands.copying import exact, opened, seen_in
from tests.streams.service import Service
from tests.support.http1 import ask
from tests.support.manual_clock import ManualClock
from tests.support.processes import headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import StreamState

COPY_S = 20.0  # for one stream


class Folders(NamedTuple):
    """Two places, and the command that copies from the first to the second."""

    source: str
    target: str
    cli: CommandLine

    def copy(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(
            self.cli.output("data", "copy", self.source, self.target, "--json")
        )
        return found


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    cli = CommandLine("http://127.0.0.1:9/v1/stream")
    yield Folders(f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}", cli)
    cli.kill()


async def change(
    place: str, work: Callable[[Service], Awaitable[object]], retention: Retention = EVERYTHING
) -> None:
    """Open a log, and work on its streams by the clock of the machine."""
    async with opened(place) as log:
        clock = ManualClock(time.time())  # noqa: TID251 - by which the copies are made
        await work(Service(log, clock, retention=retention))


async def state_of(place: str, path: str = "s") -> StreamState:
    found = (await exact(place, [path]))[path]
    assert found is not None
    return found.state


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("appends", [2, 40], ids=["within-the-copy", "past-the-copy"])
async def test_retention_at_the_source_between_two_runs_moves_the_beginning_of_the_copy(
    appends: int, folders: Folders
) -> None:
    retention = Retention(max_bytes=1000)

    async def begin(service: Service) -> None:
        await service.create("s")
        for number in range(10):
            await service.append("s", b"%0100d" % number)

    async def go_on(service: Service) -> None:
        for number in range(appends):
            await service.append("s", b"%0100d" % (10 + number))

    await change(folders.source, begin, retention)
    folders.copy()
    before = await state_of(folders.target)
    await change(folders.source, go_on, retention)
    folders.copy()
    after = await state_of(folders.target)
    assert after.first > before.first
    assert (after.first > before.tail) is (appends == 40)
    assert await exact(folders.source, ["s"]) == await exact(folders.target, ["s"])
    folders.cli.output("data", "verify", folders.target)


@pytest.mark.usefixtures("processes")
async def test_a_copy_in_redis_that_begins_within_what_an_earlier_run_stored_is_whole(
    folders: Folders, tmp_path: Path
) -> None:
    """A run stores many records as one entry, and the next one cuts within it."""
    retention = Retention(max_bytes=3000)
    sizes = random.Random(1)  # of a seed under which the entry went whole

    async def grow(service: Service) -> None:
        for _ in range(12):
            await service.append("s", b"x" * sizes.choice((3, 53, 903)))

    with redis_server(tmp_path / "redis") as redis:
        into = folders._replace(target=redis.url)
        await change(folders.source, lambda it: it.create("s"), retention)
        cut_within = 0
        for _ in range(20):
            await change(folders.source, grow, retention)
            into.copy()
            assert await exact(into.source, ["s"]) == await exact(into.target, ["s"])
            ids = redis.command("XRANGE", "headgate:{s}:records", "-", "+")
            begins = {int(found[0].partition(b"-")[0]) for found in ids}
            cut_within += (await state_of(into.target)).first not in begins
        assert cut_within > 3


@pytest.mark.usefixtures("processes")
async def test_a_fork_becomes_a_stream_of_its_own_with_the_same_offsets(folders: Folders) -> None:
    async def fork(service: Service) -> None:
        await service.create("s", b"begins ")
        await service.append("s", b"and goes on")
        await service.fork("f", "s", b"elsewhere", position=7)

    await change(folders.source, fork)
    folders.copy()
    source, copy = await state_of(folders.source, "f"), await state_of(folders.target, "f")
    assert source.fork is not None
    assert (copy.fork, copy.lineage, copy.references) == (None, (), 0)
    assert [copy.offset(at) for at in (0, 7, 16)] == [source.offset(at) for at in (0, 7, 16)]
    seen = await seen_in(folders.source, ["s", "f"])
    assert seen == await seen_in(folders.target, ["s", "f"])
    assert folders.copy()["changed"] == 0


@pytest.mark.usefixtures("processes")
async def test_an_idle_lifetime_goes_on_where_it_was_and_an_expired_stream_is_not_copied(
    folders: Folders,
) -> None:
    async def create(service: Service) -> None:
        service.clock.advance(-3000)
        await service.create("s", lifetime=Lifetime(ttl_s=3600))
        await service.create("over", lifetime=Lifetime(ttl_s=2900))

    await change(folders.source, create)
    assert folders.copy()["streams"] == 1
    async with opened(folders.target) as log:
        state = (await log.load("s")).path_state.state
        assert state is not None
        deadline = state.deadline or 0.0
        assert 500 < deadline - time.time() <= 600  # noqa: TID251 - as above
        assert (await log.load("over")).path_state.state is None


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("there", "why"),
    [
        pytest.param(lambda it: it.create("s", b"one two three"), "has more than", id="longer"),
        pytest.param(lambda it: it.create("s", b"on"), "other content", id="other-appends"),
        pytest.param(lambda it: it.create("s", b"one", close=True), "is closed", id="closed"),
        pytest.param(
            lambda it: it.create("s", content_type="text/html"), "of type text/html", id="type"
        ),
        pytest.param(
            lambda it: it.create("s", lifetime=Lifetime(ttl_s=60)), "another lifetime", id="ttl"
        ),
    ],
)
async def test_a_stream_that_is_no_beginning_of_its_source_is_refused_and_left(
    there: Callable[[Service], Awaitable[object]], why: str, folders: Folders
) -> None:
    async def create(service: Service) -> None:
        await service.create("s", b"one")
        await service.append("s", b" two")

    await change(folders.source, create)
    await change(folders.target, there)
    before = await exact(folders.target, ["s"])
    done = folders.cli("data", "copy", folders.source, folders.target)
    assert done.returncode == 4
    assert done.stderr.startswith(b"headgate: s: ")
    assert why in done.stderr.decode()
    assert await exact(folders.target, ["s"]) == before


@pytest.mark.usefixtures("processes")
async def test_a_stream_that_was_deleted_at_the_destination_is_refused_there(
    folders: Folders,
) -> None:
    await change(folders.source, lambda it: it.create("s", b"one"))
    folders.copy()
    await change(folders.target, lambda it: it.lifecycle.delete("s"))
    done = folders.cli("data", "copy", folders.source, folders.target)
    assert done.returncode == 4
    assert b"the same offsets" in done.stderr


async def test_more_refused_streams_than_are_named_are_counted(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def create(service: Service) -> None:
        for number in range(4):
            await service.create(f"s{number}", close=True)

    async def differ(service: Service) -> None:
        for number in range(4):
            await service.create(f"s{number}", b"other")

    await change(folders.source, create)
    await change(folders.target, differ)
    monkeypatch.setattr(queue, "MOST_SAID", 2)
    source, target = LogPlace(folders.source), LogPlace(folders.target)
    request = CopyRequest(source, target, as_json=True)
    assert await copy(request) == 4
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if "has more than the source" in line]) == 2
    assert lines[-1] == "headgate: more streams cannot be copied: they are counted only."


async def test_a_copy_ends_after_one_of_two_producers_has_gone_on(folders: Folders) -> None:
    async def begin(service: Service) -> None:
        await service.create("s")
        for name in ("one", "two"):
            await service.submit("s", b"x", producer=Stamp(name, 0, 0))

    async def go_on(service: Service) -> None:
        await service.submit("s", b"y", producer=Stamp("one", 0, 1))

    for work in (begin, go_on):
        await change(folders.source, work)
        async with asyncio.timeout(COPY_S):
            assert await copy(CopyRequest(LogPlace(folders.source), LogPlace(folders.target))) == 0
        assert await exact(folders.source, ["s"]) == await exact(folders.target, ["s"])


@pytest.mark.usefixtures("processes")
async def test_readers_and_producers_go_on_at_a_gateway_that_serves_the_copy(
    folders: Folders, tmp_path: Path
) -> None:
    stamp = {"Producer-Id": "w", "Producer-Epoch": "0"}
    text = {"Content-Type": "text/plain"}
    path = "/v1/stream/s"
    with headgate(folders.source) as server:
        assert ask(server.port, "PUT", path, None, **text).status == 201
        first = ask(server.port, "POST", path, b"one ", **text, **stamp, **{"Producer-Seq": "0"})
        tail = ask(server.port, "POST", path, b"two ", **text, **stamp, **{"Producer-Seq": "1"})
    with redis_server(tmp_path / "redis") as redis:
        folders._replace(target=redis.url).copy()
        with headgate(redis.url) as gateway:
            again = ask(
                gateway.port, "POST", path, b"two ", **text, **stamp, **{"Producer-Seq": "1"}
            )
            assert (again.status, again.next_offset) == (204, tail.next_offset)
            new = ask(
                gateway.port, "POST", path, b"three", **text, **stamp, **{"Producer-Seq": "2"}
            )
            assert new.status == 200
            read = ask(gateway.port, "GET", f"{path}?offset={first.next_offset}")
            assert (read.status, read.body) == (200, b"two three")


@pytest.mark.usefixtures("processes")
def test_subscriptions_stay_behind_and_the_last_line_says_so(
    folders: Folders,
) -> None:
    document = {"type": "pull-wake", "pattern": "a/*", "wake_stream": "wakes"}
    with headgate(folders.source) as server:
        for name in ("one", "two/three"):
            path = f"/v1/stream/__ds/subscriptions/{quote(name, safe='')}"
            answer = ask(server.port, "PUT", path, json.dumps(document).encode())
            assert answer.status == 201, answer
        ask(server.port, "PUT", "/v1/stream/a/1", b"x", content_type="text/plain")

    copied = folders.cli("data", "copy", folders.source, folders.target)
    assert copied.stderr.endswith(
        b"; not copied: 2 subscriptions of FROM; clients create them again at TO, where they begin "
        b"at the tails of the streams.\n"
    )
    with headgate(folders.target) as server:
        assert ask(server.port, "GET", "/v1/stream/__ds/subscriptions/one").status == 404
        assert ask(server.port, "GET", "/v1/stream/a/1").body == b"x"
