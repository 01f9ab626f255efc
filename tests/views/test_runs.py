"""Views of runs that the library has stored: the same chunks that its own readers get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from headgate.runs import Runs
from tests.client.runs.sources import Feed, of, read, read_failed
from tests.models.answers import WORDS, chat_completion
from tests.support.processes import headgate
from tests.views.reading import values, view_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOOL = {"type": "data-weather", "data": {"sun": True}}
SOURCES = ("Once ", "upon", TOOL, "a time é.")
TEXT = "Once upona time é."


@pytest.fixture
async def runs(processes: None) -> AsyncIterator[Runs]:
    with headgate() as server:
        runs = Runs(server.streams, orphan_after=1)
        yield runs
        await runs.aclose(wait=0)


async def view_of(runs: Runs, run_id: str, view: str) -> bytes:
    """Return a view of a run that is over."""
    url = runs._place(run_id).items.url
    async with aiohttp.ClientSession() as http, http.get(url, params={"view": view}) as got:
        assert got.status == 200
        return await got.read()


def without_messages(chunks: list[Any]) -> list[Any]:
    return [{key: it for key, it in one.items() if key != "messageId"} for one in chunks]


async def test_a_run_in_the_format_ai_sdk_is_passed_through(runs: Runs) -> None:
    own = await read(await runs.start("chat 7", of(*SOURCES), format="ai-sdk"))
    shown = await view_of(runs, "chat 7", "ai-sdk")
    assert values(view_events(shown)) == values(view_events(own))
    assert view_events(shown)[-1].data == "[DONE]"
    assert (await view_of(runs, "chat 7", "text")).decode() == TEXT
    events = values(view_events(await view_of(runs, "chat 7", "ag-ui")))
    custom = [one for one in events if one["type"] == "CUSTOM"]
    assert [(one["name"], one["value"]["data"]) for one in custom] == [
        ("data-weather", {"sun": True})
    ]
    assert (events[0]["runId"], events[-1]["type"]) == ("chat 7", "RUN_FINISHED")


async def test_a_failed_run_is_an_error_in_each_view(runs: Runs) -> None:
    feed = Feed("Once ", RuntimeError("no more"))
    own = await read_failed(await runs.start("a", feed.source(), format="ai-sdk"))
    shown = await view_of(runs, "a", "ai-sdk")
    assert values(view_events(shown)) == values(view_events(own))
    events = values(view_events(await view_of(runs, "a", "ag-ui")))
    assert events[-1]["type"] == "RUN_ERROR"
    assert await view_of(runs, "a", "text") == b"Once "


async def test_a_run_of_sdk_events_is_read_as_an_answer(runs: Runs) -> None:
    events = [one for record in chat_completion()[:-1] for one in values(view_events(record))]
    await read(await runs.start("b", of(*events), format="sse"))
    assert (await view_of(runs, "b", "text")).decode() == "".join(WORDS)
    chunks = values(view_events(await view_of(runs, "b", "ai-sdk")))
    assert chunks[-1] == {"type": "finish", "finishReason": "tool-calls"}
    as_run = await read(await runs.start("c", of(*events), format="ai-sdk"))
    assert without_messages(chunks) == without_messages(values(view_events(as_run)))


async def test_a_run_of_text_is_one_message(runs: Runs) -> None:
    await read(await runs.start("d", of("Once ", "upon"), format="text"))
    assert await view_of(runs, "d", "text") == b"Once upon"
    types = [one["type"] for one in values(view_events(await view_of(runs, "d", "ag-ui")))]
    assert types[:3] == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"]
