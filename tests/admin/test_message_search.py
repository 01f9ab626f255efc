"""Searches of messages, by the API and the page, of streams in a real gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headgate_admin.streams import search
from tests.admin.in_process import ROUTE, RunningConsole, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def console() -> AsyncIterator[RunningConsole]:
    async with running() as made:
        yield made


# ---------------------------------------------------------------- search


async def test_messages_are_found_by_text_with_their_offsets(
    console: RunningConsole,
) -> None:
    bodies = [json.dumps({"n": n, "word": f"W{n}"}).encode() for n in range(20)]
    offsets = await console.create("chat", "application/json", *bodies)
    found = await console.messages("chat", text="w7")
    (message,) = found["messages"]
    assert (message["text"], message["offset"], message["next_offset"]) == (
        bodies[7].decode(),
        offsets[6],
        offsets[7],
    )
    assert (found["searched"], found["behind"], found["tail"]) == (20, None, offsets[-1])
    from_there = await console.messages("chat", offset=offsets[6], limit=1)
    assert from_there["messages"][0]["text"] == bodies[7].decode()


async def test_a_search_goes_on_where_its_page_ended(console: RunningConsole) -> None:
    bodies = [json.dumps([n, "even" if n % 2 == 0 else "odd"]).encode() for n in range(10)]
    await console.create("chat", "application/json", b",".join(bodies).join((b"[", b"]")))
    place: Any = {"offset": "-1", "skip": 0}
    found = []
    while place is not None:
        query = {"text": "even", "limit": 2, **place}
        page = await console.messages("chat", **query)
        found += [json.loads(it["text"])[0] for it in page["messages"]]
        place = page["behind"]
    assert found == [0, 2, 4, 6, 8]


async def test_a_search_looks_at_a_bounded_part_and_says_where_it_ended(
    console: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_SEARCHED_READS", 2)
    bodies = [json.dumps("x" * 200_000).encode() for _ in range(8)] + [b'"needle"']
    offsets = await console.create("long", "application/json", *bodies)
    place: Any = {"offset": "-1", "skip": 0}
    tail = None
    parts = []
    while place is not None:
        page = await console.messages("long", text="needle", **place)
        parts.append((page["searched"], len(page["messages"])))
        place, tail = page["behind"], page["tail"]
    assert [found for _, found in parts] == [0] * (len(parts) - 1) + [1]
    assert len(parts) > 2
    assert sum(searched for searched, _ in parts) == 9
    assert tail == offsets[-1]


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_a_search_looks_at_a_bounded_number_of_short_messages(
    console: RunningConsole, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    monkeypatch.setattr(search, "MOST_SEARCHED", 10)
    await console.create("short", "application/json", json.dumps([0] * (10 + more)).encode())
    found = await console.messages("short", text="nothing")
    assert found["searched"] == 10 + min(more, 0)
    assert found["behind"] == ({"offset": "-1", "skip": 10} if more > 0 else None)


@pytest.mark.parametrize(
    ("content_type", "text", "status", "reason"),
    [
        pytest.param("text/plain", "1", 400, "only JSON streams", id="no-json"),
        pytest.param("application/json", "x" * search.LONGEST_TEXT, 200, "", id="the-longest"),
        pytest.param("application/json", "x" * 1025, 400, "at most 1,024", id="too-long"),
    ],
)
async def test_a_short_text_is_searched_for_in_json_streams_alone(
    console: RunningConsole, content_type: str, text: str, status: int, reason: str
) -> None:
    await console.create("chat", content_type, b"1")
    found = await console.ask("GET", "stream/messages", route=ROUTE, name="chat", text=text)
    assert (found[0], reason in found[1].get("detail", "")) == (status, True)


# ---------------------------------------------------------------- the page


async def page(console: RunningConsole, **query: str) -> str:
    async with console.open("/streams/one", {"route": ROUTE, "name": "chat", **query}) as answer:
        assert answer.status == 200
        return str(await answer.text())


async def test_a_page_that_skips_an_endless_number_of_messages_skips_none(
    console: RunningConsole,
) -> None:
    await console.create("chat", "application/json", b'"the first"')
    assert "the first" in await page(console, offset="-1", skip="9" * 5000)


@pytest.mark.usefixtures("processes")
async def test_the_page_searches_without_scripts_and_links_to_what_follows(
    console: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_SEARCHED_READS", 1)
    bodies = [json.dumps({"n": n, "x": "x" * 200_000}).encode() for n in range(3)]
    await console.create("chat", "application/json", *bodies)
    shown = await page(console, text="needle")
    assert "None of the 2 messages up to here fits." in shown
    assert 'id="messages"' not in shown  # which the script would follow
    assert "text=needle" in shown
    shown = await page(console, text='"><script>alert(1)</script>')
    assert "<script>alert" not in shown
    assert "offset=0000" in await page(console, text="xx")
    assert 'id="messages"' in await page(console)
