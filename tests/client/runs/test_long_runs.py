"""The end of a long run, and what is near it, is found without reading what is before."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from headgate.following import catch_up
from headgate.runs import Runs, RunState
from headgate.runs.cursors import cursor
from headgate.runs.stored.marks import EVERY_BYTES, EVERY_ITEMS, Marker
from headgate.sending.framing import JSON, json_array
from headgate.stream_requests import StreamRequests

from tests.client.runs.conftest import MAX_APPEND, ORPHAN_AFTER_S
from tests.client.runs.sources import of, read, read_to
from tests.support.delaying_proxy import DelayingProxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from headgate.runs import Answer

    from tests.support.origin_servers import Reference
    from tests.support.threaded import Threaded

COUNT = 10_000
AT_ONCE = 500  # items, as of a fast model between two appends
# What is read of the tail, with the heads of answers: all items have 59,000 bytes. How far the last
# mark is from the tail depends on how many items are written at once.
LITTLE = 45_000
FINISHED = RunState("finished")
EVENT = re.compile(rb"id: ([^\n]*)\n(?:[^\n]+\n)*?data: ([^\n]*)\n\n")
BEFORE = b"""{"type":"data-headgate-run","data":{"format":"sse"},"transient":true}
{"type":"data-headgate-run","data":{"status":"active"},"transient":true}
%b
{"type":"data-headgate-run","data":{"status":"finished"},"transient":true}"""


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@pytest.fixture
async def way(any_server: Threaded | Reference) -> AsyncIterator[DelayingProxy]:
    """A way to the server that counts what comes back."""
    async with DelayingProxy(any_server.port, latency_s=0) as way:
        yield way


@pytest.fixture
async def counted(url: str, way: DelayingProxy) -> AsyncIterator[Runs]:
    """Runs at another replica, which reads by that way."""
    behind = urlsplit(url)._replace(netloc=f"127.0.0.1:{way.port}").geturl()
    async with Runs(behind, orphan_after=ORPHAN_AFTER_S) as counted:
        yield counted


async def numbers(count: int, first: int = 0) -> AsyncGenerator[int]:
    """Counts, with a short pause now and then."""
    for number in range(first, first + count):
        yield number
        if number % AT_ONCE == 0:
            await asyncio.sleep(0.01)


async def then_silence(items: AsyncIterator[int]) -> AsyncGenerator[int]:
    """Gives these, and then nothing."""
    async for item in items:
        yield item
    await asyncio.Event().wait()


class Paced:
    """A source that counts, and waits now and then until its reader has all that it gave.

    So no append has many more items than AT_ONCE, however long each one takes.
    """

    def __init__(self) -> None:
        self.body = b""

    async def numbers(self) -> AsyncGenerator[int]:
        for number in range(COUNT):
            yield number
            if number % AT_ONCE == 0:
                last = b"data: %d\n\n" % number
                await until(lambda last=last: self.body.endswith(last))  # type: ignore[misc] # bound now

    async def read(self, answer: Answer, last: bytes | None = None) -> None:
        """Read to the end, or up to these bytes."""
        async for piece in answer.body:
            self.body += piece
            if last is not None and self.body.endswith(last):
                return


async def produced(runs: Runs) -> bytes:
    """Produce a run to its end, and return what was read of it."""
    paced = Paced()
    await paced.read(await runs.start("a", paced.numbers(), format="sse"))
    return paced.body


async def ended(runs: Runs) -> None:
    async def is_over() -> bool:
        state = await runs.state("a")
        return state is not None and state.status != "active"

    await until(is_over)


def ids(body: bytes) -> list[str]:
    """The ids of the events of a body."""
    return [id_.decode() for id_, _ in events(body)]


def seen(body: bytes) -> list[tuple[int, object]]:
    """The events of a body: which item of the run each is, and its data."""
    found = events(body)
    data: list[object] = json.loads(b"[%b]" % b",".join(item for _, item in found))
    numbers = (int(id_.partition(b".")[0]) for id_, _ in found)
    return [*zip(numbers, data, strict=True)]


def events(body: bytes) -> list[tuple[bytes, bytes]]:
    """The id and the data of each event of a body, of which nothing else is left."""
    found = EVENT.findall(body)
    assert EVENT.sub(b"", body) == b""
    return found


END = (COUNT + 1, {"status": "finished", "error": None})


def rest(after: int, count: int = COUNT) -> list[tuple[int, object]]:
    return [(number + 1, number) for number in range(after, count)]


async def check_tail_is_found(runs: Runs) -> None:
    assert await runs.state("a") == FINISHED
    assert seen(await read(await runs.follow("a", COUNT - 3))) == [*rest(COUNT - 3), END]
    # The end is an item, too.
    assert seen(await read(await runs.follow("a", -3))) == [*rest(COUNT - 2), END]


async def check_all_is_found(runs: Runs) -> None:
    await check_tail_is_found(runs)
    for after in (0, 5, EVERY_ITEMS, COUNT // 2):
        assert seen(await read(await runs.follow("a", after))) == [*rest(after), END]
    assert seen(await read(await runs.follow("a", COUNT))) == [END]
    assert await runs.follow("a", COUNT + 1) is None


async def test_state_and_last_items_of_a_long_run_are_read_from_its_tail(
    runs: Runs, counted: Runs, way: DelayingProxy
) -> None:
    await produced(runs)
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "state": lambda: counted.state("a"),
        "follow": lambda: counted.follow("a", COUNT - 3),
        "follow from the end": lambda: counted.follow("a", -3),
    }
    for what, ask in asked.items():
        before = way.answered
        assert await ask() is not None
        assert way.answered - before < LITTLE, what
    await check_all_is_found(counted)


async def test_an_event_id_resumes_a_long_run_without_reading_earlier_items(
    runs: Runs, counted: Runs, way: DelayingProxy
) -> None:
    found = ids(await produced(runs))
    assert found[:3] == ["1", "2", "3"]  # as they are near the beginning
    assert sum("." in id_ for id_ in found) > COUNT / 2
    for index in (0, EVERY_ITEMS, COUNT // 2, COUNT - 3):
        place = cursor({}, {"Last-Event-ID": found[index]})
        assert cursor({"after": found[index]}, {}) == place
        before = way.answered
        answer = await counted.follow("a", place)
        if index == COUNT - 3:
            assert way.answered - before < LITTLE
        assert seen(await read(answer)) == [*rest(index + 1), END]
    assert await runs.follow("a", cursor({}, {"Last-Event-ID": found[-1]})) is None


@pytest.mark.parametrize("offset", ["0", "9" * 16 + "_" + "9" * 16, "~"])
async def test_an_event_id_with_a_refused_offset_resumes_by_its_item_number(
    runs: Runs, offset: str
) -> None:
    await produced(runs)
    place = cursor({}, {"Last-Event-ID": f"{COUNT - 3}.5.{offset}"})
    answer = await runs.follow("a", place)
    assert seen(await read(answer)) == [*rest(COUNT - 3), END]


async def test_a_long_run_is_read_correctly_without_its_index(runs: Runs, url: str) -> None:
    await produced(runs)
    async with StreamRequests(f"{url}/a/index") as index:
        await index.delete()
    await check_all_is_found(runs)


async def test_a_long_run_is_read_correctly_despite_wrong_entries_in_its_index(
    runs: Runs, url: str
) -> None:
    await produced(runs)
    async with StreamRequests(f"{url}/a/index") as index, StreamRequests(f"{url}/a") as items:
        (batch,) = [batch async for _, batch in catch_up(index, "-1")]
        first = json.loads(batch.bodies[0])[0]
        tail = (await items.head()).next_offset
        early, beyond = first["offset"], "9" * 16 + "_" + "9" * 16
        places = [(offset, 1) for offset in ("-1", "now", early, tail, beyond, "none")]
        for offset, count in [*places, (early, COUNT - 4), (early, 2 * COUNT)]:
            await index.delete()
            body = json.dumps([{"count": count, "offset": offset}]).encode()
            await index.create(content_type=JSON, body=body)
            await check_tail_is_found(runs)


async def test_a_long_run_is_read_correctly_despite_garbage_in_its_index(
    runs: Runs, url: str
) -> None:
    await produced(runs)
    async with StreamRequests(f"{url}/a/index") as index:
        for body in (b'["?"]', b'[{"count":-1}]', b"[null,1]"):
            await index.append(body, content_type=JSON)
            await check_tail_is_found(runs)


async def test_a_long_run_of_the_previous_version_is_read_correctly(runs: Runs, url: str) -> None:
    lines = BEFORE % b"\n".join(b"%d" % number for number in range(COUNT))
    async with StreamRequests(f"{url}/a") as items:
        await items.create(content_type=JSON)
        await items.append(json_array(lines.split(b"\n")), content_type=JSON, is_closing=True)
    await check_all_is_found(runs)


async def test_a_long_orphaned_run_is_ended_by_reading_only_its_tail(
    runs: Runs, counted: Runs, way: DelayingProxy
) -> None:
    paced = Paced()
    answer = await runs.start("a", then_silence(paced.numbers()), format="sse")
    await paced.read(answer, b"data: %d\n\n" % (COUNT - 1))
    for task in asyncio.all_tasks():
        if task.get_name() == "run a":
            task.cancel()
    await answer.body.aclose()
    await asyncio.sleep(ORPHAN_AFTER_S + 0.5)
    before = way.answered
    assert await counted.state("a") == RunState("orphaned", "its producer is gone")
    assert way.answered - before < LITTLE
    orphaned = (COUNT + 1, {"status": "orphaned", "error": "its producer is gone"})
    for after in (COUNT - 3, -4):
        assert seen(await read(await counted.follow("a", after))) == [*rest(COUNT - 3), orphaned]


async def test_a_takeover_of_a_long_run_continues_its_item_numbers(runs: Runs, other: Runs) -> None:
    answer = await runs.start("a", then_silence(numbers(EVERY_ITEMS + 10)), format="sse")
    await read_to(answer, b"data: %d\n\n" % (EVERY_ITEMS + 9))
    await other.start("a", numbers(COUNT - EVERY_ITEMS - 10, EVERY_ITEMS + 10), format="sse")
    await ended(other)
    await check_all_is_found(runs)


async def test_a_refused_item_of_a_long_run_is_reported_with_its_number(server: Threaded) -> None:
    async with Runs(f"{server.streams}/{uuid.uuid4().hex}") as runs:
        answer = await runs.start("a", of(*range(2 * EVERY_ITEMS), "x" * MAX_APPEND), format="sse")
        assert f"item {2 * EVERY_ITEMS + 1}, of ".encode() in await read(answer)


def test_an_index_grows_with_the_logarithm_of_its_run() -> None:
    marker = Marker(StreamRequests("http://127.0.0.1/a"), "sse", 0, None)
    made = 0
    for _ in range(300_000):
        marker.wrote(b"1")
        if marker.is_due:
            marker.mark("-1")
            made += 1
    assert 80 < made < 120


def test_an_index_mark_is_due_after_a_number_of_bytes() -> None:
    marker = Marker(StreamRequests("http://127.0.0.1/a"), "sse", 0, None)
    for size, is_due in ((EVERY_BYTES - 1, False), (1, True)):
        marker.wrote(b"." * size)
        assert marker.is_due is is_due
    marker.mark("-1")
    assert not marker.is_due
