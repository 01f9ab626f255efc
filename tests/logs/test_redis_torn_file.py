"""A crash of Redis in the midst of writing a commit to its append-only file.

The next start leaves the beginning of the commit's transaction in the file, and the one after that
carries it out, before what was written in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.errors import StreamClosed, StreamNotFound
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.protocol.streams.state import Stamp
from tests.logs.contract import appended, committed, created
from tests.logs.redis_logs import commit_words, connected
from tests.streams.service import Service
from tests.support.examples import IS_WHOLE, cases
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.protocol.streams.state import StreamState

pytestmark = pytest.mark.usefixtures("processes")

DURABLE = {"appendonly": "yes", "appendfsync": "always"}
BASE = b"base a0 b0 "
A1 = Stamp("a", 0, 1)
B1 = Stamp("b", 0, 1)


class Kind(NamedTuple):
    """What is torn, and what is so after it was done again by whoever got no answer."""

    torn: Callable[[Service], Awaitable[object]]
    again: Callable[[Service], Awaitable[None]]
    verify: Callable[[Service], Awaitable[None]]


async def prepare(service: Service) -> None:
    await service.create("s", b"base ")
    await service.append("s", b"a0 ", producer=Stamp("a", 0, 0))
    await service.append("s", b"b0 ", producer=Stamp("b", 0, 0))
    await service.create("beside")


async def stored(service: Service, body: bytes, producer: Stamp) -> bool:
    return bool((await service.append("s", body, producer=producer)).stored)


async def append(service: Service) -> None:
    """In one commit, and one entry."""
    together = [
        service.submit("s", b"a1 ", producer=A1),
        service.submit("s", b"b1 b1 ", producer=B1),
    ]
    await asyncio.gather(*together)


async def append_again(service: Service) -> None:
    """In another order, and cut in another way."""
    expected = b"b1 b1 more a1 " if await stored(service, b"b1 b1 ", B1) else b"a1 b1 b1 more "
    await service.append("s", b"more ")
    await stored(service, b"a1 ", A1)
    assert await service.data("s") == BASE + expected


async def verify_append(service: Service) -> None:
    content = await service.data("s")
    is_there = content != BASE
    assert await stored(service, b"a1 ", A1) != is_there
    assert await stored(service, b"b1 b1 ", B1) != is_there
    assert await service.data("s") == (content if is_there else BASE + b"a1 b1 b1 ")


async def close(service: Service) -> None:
    await service.append("s", b"", producer=A1, close=True)


async def verify_close(service: Service) -> None:
    assert await service.data("s") == BASE
    if (await service.present("s")).closed:
        with pytest.raises(StreamClosed):
            await service.append("s", b"late")
    else:
        await close(service)


async def create(service: Service) -> None:
    await service.create("new", b"first ")


async def create_again(service: Service) -> None:
    await create(service)
    await service.append("new", b"second ")
    assert await service.data("new") == b"first second "


async def verify_create(service: Service) -> None:
    try:
        assert await service.data("new") in {b"first ", b"first second "}
    except StreamNotFound:
        assert (await service.create("new", b"other")).new
        assert await service.data("new") == b"other"


async def fork(service: Service) -> None:
    await service.fork("f", "s", b"own ")


async def verify_fork(service: Service) -> None:
    await fork(service)
    assert await service.data("f") == BASE + b"own "
    await service.append("f", b"more ")
    await service.append("s", b"more ")
    assert await service.data("f") == BASE + b"own more "
    assert await service.data("s") == BASE + b"more "


async def delete(service: Service) -> None:
    await service.lifecycle.delete("f")


async def delete_again(service: Service) -> None:
    """Or rather go on with it."""
    try:
        await service.append("f", b"more ")
    except StreamNotFound:
        await service.fork("f", "s", b"own more ")
    assert await service.data("f") == BASE + b"own more "


async def verify_delete(service: Service) -> None:
    try:
        assert await service.data("f") in {BASE + b"own ", BASE + b"own more "}
    except StreamNotFound:
        assert (await service.fork("f", "s", b"own ")).new
    assert await service.data("s") == BASE


KINDS = {
    "append": Kind(append, append_again, verify_append),
    "close": Kind(close, close, verify_close),
    "create": Kind(create, create_again, verify_create),
    "fork": Kind(fork, fork, verify_fork),
    "delete": Kind(delete, delete_again, verify_delete),
}


def command_ends(written: bytes) -> Iterator[int]:
    """Where each command in a file ends."""
    at = 0
    while at < len(written):
        line_end = written.index(b"\r\n", at)
        count = int(written[at + 1 : line_end])
        at = line_end + 2
        for _ in range(count):
            line_end = written.index(b"\r\n", at)
            at = line_end + 4 + int(written[at + 1 : line_end])
        yield at


async def at(server: RedisServer, *steps: Callable[[Service], Awaitable[object]]) -> None:
    """Take steps at a gateway of their own."""
    async with connected(server.url) as log:
        service = Service(log)
        for step in steps:
            await step(service)


async def content(service: Service) -> dict[str, bytes]:
    """Of each stream that is there."""
    found = {}
    for path in ("s", "f", "new", "beside"):
        with contextlib.suppress(StreamNotFound):
            found[path] = await service.data(path)
    return found


async def acknowledge(service: Service) -> None:
    """The end of a transaction is what has the torn one carried out."""
    await service.append("beside", b"acknowledged ")


def torn_files(kept: Path, before: int) -> Iterator[bytes]:
    """The file, cut amid each command after `before`, or amid every second and the last."""
    written = kept.read_bytes()
    ends = [0, *command_ends(written[before:])]
    cuts = [before + (begin + end) // 2 for begin, end in itertools.pairwise(ends)]
    for cut in cuts if IS_WHOLE else sorted({*cuts[::2], cuts[-1]}):
        yield written[:cut]


@pytest.mark.parametrize(
    "is_repeated", cases([True, False], {True}, "what is repeated"), ids=["repeated", "given up"]
)
@pytest.mark.parametrize("kind", KINDS)
async def test_data_stored_after_a_torn_commit_are_not_changed_by_a_repetition(
    tmp_path: Path, kind: str, is_repeated: bool
) -> None:
    torn, again, verify = KINDS[kind]
    folder = tmp_path / "redis" / "appendonlydir"
    with redis_server(tmp_path / "redis", **DURABLE) as server:
        file = next(folder.glob("*.incr.aof"))
        await at(server, prepare, *([fork] if kind == "delete" else []))
        before = file.stat().st_size
        await at(server, torn)
        server.kill()
        kept = tmp_path / "kept"
        shutil.copytree(folder, kept)
        for written in torn_files(kept / file.name, before):
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            file.write_bytes(written)
            seen: list[dict[str, bytes]] = []
            steps = [again, acknowledge] if is_repeated else [acknowledge]
            await restarted(server, seen, *steps)
            await restarted(server, seen)
            assert seen[0].items() <= seen[1].items(), written[before:]
            await restarted(server, seen, verify)
            await restarted(server, seen)
            assert seen[2] == seen[3], written[before:]


async def restarted(
    server: RedisServer,
    seen: list[dict[str, bytes]],
    *steps: Callable[[Service], Awaitable[object]],
) -> None:
    """Start it anew, take steps, and see what is there then."""
    await asyncio.to_thread(server.restart)

    async def look(service: Service) -> None:
        seen.append(await content(service))

    await at(server, *steps, look)


# ---------------------------------------------------------------- what came true late, and beneath


END = b"*1\r\n$4\r\nEXEC\r\n"
AHEAD = "2900000000000000 00000000"  # a history of a server whose clock is far ahead


def tear_end(server: RedisServer) -> None:
    """A crash in the midst of the end of the last transaction."""
    server.kill()
    file = next((server.folder / "appendonlydir").glob("*.incr.aof"))
    written = file.read_bytes()
    assert written.endswith(END)
    file.write_bytes(written[:-1])


async def test_a_torn_creation_does_not_confirm_the_stream_in_its_place(tmp_path: Path) -> None:
    with redis_server(tmp_path, **DURABLE) as server:
        async with connected(server.url) as log:
            change = created(log, "new", b"torn")
            call = commit_words(change)
        assert server.command(*call) == [1]
        tear_end(server)
        await asyncio.to_thread(server.start)
        async with connected(server.url) as log:
            await log.commit([created(log, "new", b"acknowledged")])
        await asyncio.to_thread(server.restart)
        async with connected(server.url):  # which begins a history
            assert server.command(*call)[0] == 0


async def told(log: RedisLog, state: StreamState) -> StreamState:
    """A stream of an earlier history as a refused commit tells that it goes on."""
    with pytest.raises(Conflict) as conflict:
        await log.commit([appended(state)])
    stands = conflict.value.found
    assert stands is not None
    assert stands.path_state.state is not None
    return stands.path_state.state


@pytest.mark.parametrize("is_new", [True, False], ids=["create", "append"])
async def test_an_entry_with_a_history_ahead_of_the_clock_does_not_prevent_later_commits(
    tmp_path: Path, is_new: bool
) -> None:
    """Redis adds none whose history is before that of an entry which came true late."""
    with redis_server(tmp_path, **DURABLE) as server:
        async with connected(server.url) as log:
            await log.commit([created(log, "ahead")])
            before = created(log, "s")
            if not is_new:
                await log.commit([before])
        await asyncio.to_thread(server.restart)
        server.command("HSET", "headgate:{ahead}", "r", AHEAD)
        async with connected(server.url) as log:
            await log.load("ahead")
        async with connected(server.url) as log:
            if is_new:
                torn = created(log, "s", b"torn")
            else:
                torn = appended(await told(log, before.state), b"torn")
        assert server.command(*commit_words(torn)) == [1]
        tear_end(server)
        seen: list[dict[str, bytes]] = []
        await restarted(server, seen, create_s, lambda service: service.append("s", b"so"))
        await restarted(server, seen)
        assert seen == [{"s": b"so"}, {"s": b"so"}]


async def test_a_commit_under_a_history_not_yet_written_succeeds(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        async with connected(server.url) as log:
            change = await committed(log, created(log, "s"))
            server.command("HSET", "headgate:{s}", "r", f"{change.state.history - 1} 00000000")
            assert await told(log, change.state) == change.state
            await log.commit([appended(change.state, b"so")])


async def create_s(service: Service) -> None:
    """Or find it there."""
    await service.create("s")
