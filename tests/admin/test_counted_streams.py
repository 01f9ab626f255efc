"""What a deletion of many streams counts: where it is noted, how much, and for how many routes."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from headgate_admin.streams import deletion
from headgate_gateway.features.questions.streams import ListStreams, StreamPage, StreamRow
from tests.admin.consoles import Switchboard, console
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.admin.consoles import Client

PATH = "streams/deletion"
PAGE = tuple(StreamRow(name=f"s{number:03}", stream_id=f"{number:020}") for number in range(500))
LINE = len("s000 ") + 20 + 1  # bytes of each in the file
MEMORY = 4 << 20  # bytes; the names and ids alone of a million are 26 MB


def pages(number: int) -> Switchboard:
    """A process with so many pages of streams in each of its routes."""

    def answer(question: object) -> Any:
        if not isinstance(question, ListStreams):  # of the recorder
            return []
        page = int(question.after or 0) + 1
        return [StreamPage(PAGE, str(page) if page < number else None)]

    source = Switchboard()
    source.answers = answer
    return source


def routes(number: int) -> tuple[dict[str, str], ...]:
    return tuple({"prefix": f"/v1/r{it}", "storage": "memory:"} for it in range(number))


async def counted(client: Client, route: str) -> Any:
    """Have the streams of a route counted; return the deletion once it waits for the number."""
    status, found = await client.api("POST", PATH, {"route": route, "prefix": ""})
    assert status == 200, found

    async def is_counted() -> bool:
        return bool((await client.api("GET", f"{PATH}?id={found['id']}"))[1]["state"] == "counted")

    await until(is_counted)
    return (await client.api("GET", PATH))[1]


async def test_a_million_streams_are_counted_in_a_file_and_not_in_memory() -> None:
    async with console(pages(2_000), routes=routes(1)) as client:
        tracemalloc.start()
        try:
            found = await counted(client, "/v1/r0")
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()
    assert (found["streams"], found["is_cut"]) == (1_000_000, False)


@pytest.mark.parametrize("more", [0, 1])
async def test_a_count_ends_before_the_page_for_which_the_file_has_no_room(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "LARGEST_FILE", 2 * len(PAGE) * LINE - more)
    async with console(pages(2), routes=routes(1)) as client:
        found = await counted(client, "/v1/r0")
    assert (found["streams"], found["is_cut"]) == ((500, True) if more else (1_000, False))


async def test_each_route_has_a_deletion_of_which_the_oldest_idle_ones_are_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deletion, "MOST_IDLE", 2)
    async with console(pages(1), routes=routes(4)) as client:
        found = [await counted(client, f"/v1/r{number}") for number in range(4)]

        async def shown(one: dict[str, Any]) -> tuple[int, str | None]:
            status, body = await client.api("GET", f"{PATH}?id={one['id']}")
            return status, body.get("state")

        counted_ones = [(200, "counted")] * 3
        assert [await shown(it) for it in found] == [(200, "stopped"), *counted_ones]
        again = await counted(client, "/v1/r2")
        assert await shown(found[2]) == (200, "stopped")
        newest = await counted(client, "/v1/r3")
        assert [await shown(it) for it in (found[0], found[3])] == [(404, None), (200, "stopped")]
        for one, status in ((found[3], 404), (found[1], 200), (again, 200), (newest, 200)):
            assert (await client.api("POST", f"{PATH}/stop", {"id": one["id"]}))[0] == status
