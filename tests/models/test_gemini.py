"""Interactions of Gemini: one module of the dialects, with all that other answers have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headgate.dialects.parts import ModelFailed
from headgate.events import events_of, parse
from headgate.runs.formats import FORMATS
from tests.models.answers import WORDS, interaction, without_ids
from tests.models.serving import GEMINI, answering
from tests.views.reading import rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

KEY = {"X-Goog-Api-Key": "mine"}
ASKED = {"model": "gemini-3", "input": "Hi", "stream": True}
PATH = f"{GEMINI}/v1beta/interactions"


def values(events: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the data of events that are JSON."""
    parsed = [found.data for found in map(parse, events) if found is not None]
    return [json.loads(data) for data in parsed if data.startswith(b"{")]


def items(format_: str, events: Sequence[dict[str, Any]]) -> list[Any]:
    """Return the items of a run of these events."""
    writer = FORMATS[format_].writer()
    return [item for one in events for item in writer.items(one)] + writer.closing()


def test_a_run_of_an_interaction_has_its_text_alone() -> None:
    assert items("text", values(interaction())) == [*WORDS]


def test_a_run_of_an_interaction_has_thoughts_texts_calls_and_tokens() -> None:
    chunks = items("ai-sdk", values(interaction()))
    kinds = [chunk["type"] for chunk in chunks]
    assert kinds[:5] == [
        *("start-step", "reasoning-start", "reasoning-delta", "reasoning-delta", "reasoning-end")
    ]
    called = next(chunk for chunk in chunks if chunk["type"] == "tool-input-available")
    assert (called["toolName"], called["input"]) == ("weather", {"city": "Köln"})
    usage = next(it for it in chunks if it["type"] == "message-metadata")["messageMetadata"][
        "usage"
    ]
    assert (usage["inputTokens"], usage["outputTokens"]) == (7, 48)
    assert usage["outputTokenDetails"]["reasoningTokens"] == 10


def test_tools_of_the_provider_are_told_with_their_results_and_sources() -> None:
    search = {"type": "google_search_call", "id": "s", "arguments": {"queries": ["q"]}}
    cited = [{"type": "url_citation", "url": "https://a.example", "title": "A"}]
    chunks = items(
        "ai-sdk",
        [
            {"event_type": "step.start", "index": 0, "step": search},
            {"event_type": "step.stop", "index": 0},
            {
                "event_type": "step.start",
                "index": 1,
                "step": {"type": "google_search_result", "call_id": "s"},
            },
            {
                "event_type": "step.delta",
                "index": 1,
                "delta": {"type": "google_search_result", "result": [{"title": "A"}]},
            },
            {"event_type": "step.stop", "index": 1},
            {
                "event_type": "step.delta",
                "index": 2,
                "delta": {"type": "text_annotation_delta", "annotations": cited},
            },
        ],
    )
    found = {chunk["type"]: chunk for chunk in chunks}
    assert found["tool-input-available"]["input"] == {"queries": ["q"]}
    assert found["tool-input-available"]["providerExecuted"] is True
    assert found["tool-output-available"]["output"] == [{"title": "A"}]
    assert found["source-url"]["url"] == "https://a.example"


@pytest.mark.parametrize(
    "failed",
    [
        {"event_type": "error", "error": {"code": "resource_exhausted", "message": "no quota"}},
        {
            "event_type": "interaction.completed",
            "interaction": {"status": "failed", "error": {"message": "no quota"}},
        },
    ],
    ids=["an error", "a status"],
)
def test_a_failure_of_an_interaction_ends_its_run(failed: dict[str, Any]) -> None:
    with pytest.raises(ModelFailed, match="no quota"):
        items("text", [failed])


def test_a_view_of_an_interaction_has_the_chunks_of_the_ai_sdk() -> None:
    chunks = values([it + b"\n\n" for it in rendered("ai-sdk", interaction()).split(b"\n\n")])
    assert "".join(it["delta"] for it in chunks if it["type"] == "text-delta") == "".join(WORDS)
    assert chunks[-1] == {"type": "finish", "finishReason": "tool-calls"}


@pytest.mark.usefixtures("processes")
async def test_an_interaction_is_stored_and_read_again_by_its_id(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        url = gateway.url + PATH
        async with http.post(url, json=ASKED, headers=KEY) as answer:
            assert without_ids(await answer.read()) == b"".join(interaction())
        assert provider.requests[0].headers["X-Goog-Api-Key"] == "mine"
        query = "stream=true&last_event_id=e3"
        async with http.get(f"{url}/v1_abc?{query}", headers=KEY) as read:
            assert without_ids(await read.read()) == b"".join(interaction()[4:])
        async with http.get(f"{url}/v1_abc?stream=true&last_event_id=x", headers=KEY) as read:
            assert read.status == 400
            assert "last_event_id is x" in (await read.json())["detail"]
        assert len(provider.requests) == 1
        async with http.get(f"{url}/v1_abc", headers=KEY) as whole:  # which events do not have
            assert (await whole.json())["id"] == "of the provider"


@pytest.mark.usefixtures("processes")
async def test_an_interaction_that_breaks_off_ends_with_an_error_of_its_own(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        provider.cuts_after = 4
        async with http.post(gateway.url + PATH, json=ASKED, headers=KEY) as answer:
            *_, last = values([*events_of(await answer.read())])
        assert (last["event_type"], last["error"]["code"]) == ("error", "origin_broken")
