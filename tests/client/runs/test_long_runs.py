"""Readers of a long run begin at any item of it; the id of an event leads there at once."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from headgate.runs import Runs
from headgate.runs.cursors import Cursor, cursor
from headgate.runs.stored.reading import FAR_ITEMS
from tests.client.runs.sources import read, read_to
from tests.support.delaying_proxy import DelayingProxy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.origin_servers import Reference
    from tests.support.threaded import Threaded

COUNT = 10_000
AT_ONCE = 500  # items, as of a fast model between two appends
LITTLE = 45_000  # bytes of answers, with their heads: all items have 59,000
EVENT = re.compile(rb"id: ([^\n]*)\n(?:[^\n]+\n)*?data: ([^\n]*)\n\n")
OFFSET = "0000000000000001_0000000000262144"
END = (COUNT + 1, {"status": "finished", "error": None})


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


async def numbers(count: int, first: int = 0) -> AsyncGenerator[int]:
    """Counts, with a short pause now and then."""
    for number in range(first, first + count):
        yield number
        if number % AT_ONCE == 0:
            await asyncio.sleep(0.01)


async def endless(items: AsyncGenerator[int]) -> AsyncGenerator[int]:
    """Gives these, and then nothing."""
    async for item in items:
        yield item
    await asyncio.Event().wait()


def events(body: bytes) -> list[tuple[str, object]]:
    """The id and the data of each event of a body, of which nothing else is left."""
    assert EVENT.sub(b"", body) == b""
    return [(id_.decode(), json.loads(data)) for id_, data in EVENT.findall(body)]


def seen(body: bytes) -> list[tuple[int, object]]:
    """The events of a body: which item of the run each is, and its data."""
    return [(int(id_.partition(".")[0]), data) for id_, data in events(body)]


def rest(after: int) -> list[tuple[int, object]]:
    return [*((number + 1, number) for number in range(after, COUNT)), END]


async def test_a_long_run_can_be_followed_after_any_item_also_once_it_was_taken_over(
    runs: Runs, other: Runs
) -> None:
    first = FAR_ITEMS + 10
    answer = await runs.start("a", endless(numbers(first)), format="sse")
    await read_to(answer, b"data: %d\n\n" % (first - 1))
    second = await other.start("a", numbers(COUNT - first, first), format="sse")
    assert seen(await read(second)) == rest(0)
    for after in (0, 5, FAR_ITEMS, COUNT // 2, COUNT - 3, COUNT):
        assert seen(await read(await runs.follow("a", after))) == rest(after)
    assert seen(await read(await runs.follow("a", -3))) == rest(COUNT - 2)  # the end is one, too
    assert await runs.follow("a", COUNT + 1) is None


async def test_an_event_id_resumes_a_long_run_without_reading_earlier_items(
    runs: Runs, url: str, any_server: Threaded | Reference
) -> None:
    body = await read(await runs.start("a", numbers(COUNT), format="sse"))
    ids = [id_ for id_, _ in events(body)]
    assert ids[:3] == ["1", "2", "3"]  # as they are near the beginning
    assert sum("." in id_ for id_ in ids) > COUNT / 2
    async with DelayingProxy(any_server.port, latency_s=0) as way:
        by_way = urlsplit(url)._replace(netloc=f"127.0.0.1:{way.port}").geturl()
        async with Runs(by_way) as counted:
            before = 0
            for index in (0, FAR_ITEMS, COUNT // 2, COUNT - 3):
                before = way.answered
                answer = await counted.follow("a", cursor({}, {"Last-Event-ID": ids[index]}))
                assert seen(await read(answer)) == rest(index + 1)
            assert way.answered - before < LITTLE
    assert await runs.follow("a", cursor({}, {"Last-Event-ID": ids[-1]})) is None


@pytest.mark.parametrize("offset", ["0", "9" * 16 + "_" + "9" * 16, "~"])
async def test_an_event_id_with_a_refused_offset_resumes_by_its_item_number(
    runs: Runs, offset: str
) -> None:
    await read(await runs.start("a", numbers(COUNT), format="sse"))
    place = cursor({}, {"Last-Event-ID": f"{COUNT - 3}.5.{offset}"})
    assert seen(await read(await runs.follow("a", place))) == rest(COUNT - 3)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        *(("0", 0), ("7", 7), ("-3", -3), ("9" * 15, 10**15 - 1)),
        pytest.param(f"1042.3.{OFFSET}", Cursor(1042, 3, OFFSET), id="an-offset-of-headgate"),
        pytest.param("5.0.01.5-a~", Cursor(5, 0, "01.5-a~"), id="another-offset"),
        pytest.param(f"5.1.{'a' * 256}", Cursor(5, 1, "a" * 256), id="the-longest-offset"),
    ],
)
def test_a_number_or_an_event_id_is_read_from_each_field(text: str, after: int | Cursor) -> None:
    assert cursor({"after": text}, {}) == cursor({"startIndex": text}, {}) == after
    assert cursor({"after": "1"}, {"Last-Event-ID": text}) == after


def test_minus_one_is_the_beginning_as_an_event_id_and_the_last_item_as_a_number() -> None:
    assert cursor({"after": "7"}, {"Last-Event-ID": "-1"}) == 0
    assert cursor({"after": "-1"}, {}) == cursor({"startIndex": "-1"}, {}) == -1


@pytest.mark.parametrize(
    "text",
    [
        *("a", "1.5", "1e3", "--1", "-", "\u0661", "1" * 16, " 1"),
        *("1.2.", "1..x", ".1.x", "1.2.x", "-5.1.x", "5.-1.x", "5.1.now", "5.1.-1", "5.1.a/b"),
        f"{'1' * 16}.1.x",
        pytest.param("1\n", id="a-newline-after-a-number"),
        pytest.param("5.1.x\n", id="a-newline-after-an-offset"),
        pytest.param(f"5.1.{'x' * 257}", id="an-offset-over-the-limit"),
    ],
)
def test_a_malformed_cursor_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole numbers, or ids of events"):
        cursor({"after": text}, {})
