"""Events of the SDKs, by their own types, as text and as chunks of a UI message."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from headgate.runs.adapters.parts import ModelFailed
from headgate.runs.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType


@pytest.fixture(scope="module")
def sdk() -> ModuleType:
    return importlib.import_module("tests.client.runs.sdk_events")


def items(format_: str, events: Iterable[object]) -> list[Any]:
    """The items of a run of these events, as they stand in the stream."""
    writer = FORMATS[format_].writer()
    found = [item for event in events for item in writer.items(event)]
    whole: list[Any] = json.loads(json.dumps([*found, *writer.closing()]))
    return whole


SAID = [
    {"type": "text-delta", "delta": "Once "},
    {"type": "text-delta", "delta": "upon"},
]
CALLED = [
    {"type": "tool-input-start", "toolCallId": "call_1", "toolName": "weather"},
    {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": '{"city":'},
    {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": '"Rome"}'},
    {
        "type": "tool-input-available",
        "toolCallId": "call_1",
        "toolName": "weather",
        "input": {"city": "Rome"},
    },
]
THOUGHT = [
    {"type": "reasoning-start", "id": "reasoning-1"},
    {"type": "reasoning-delta", "id": "reasoning-1", "delta": "Hm."},
    {"type": "reasoning-end", "id": "reasoning-1"},
]


def said(number: int) -> list[dict[str, str]]:
    part = {"id": f"text-{number}"}
    return [
        {"type": "text-start", **part},
        *({**chunk, **part} for chunk in SAID),
        {"type": "text-end", **part},
    ]


# These tell that the text is complete only with the message.
TOGETHER = [*said(1)[:-1], *CALLED[:-1], said(1)[-1], CALLED[-1]]
SOURCES = [
    pytest.param("CHAT", TOGETHER, id="openai-chat"),
    pytest.param("RESPONSES_EVENTS", [*THOUGHT, *said(2), *CALLED], id="openai-responses"),
    pytest.param("ANTHROPIC_EVENTS", [*THOUGHT, *said(2), *CALLED], id="anthropic"),
    pytest.param("LANGCHAIN", TOGETHER, id="langchain"),
    pytest.param("LANGCHAIN_EVENTS", TOGETHER, id="langchain-events"),
    pytest.param("LANGGRAPH", TOGETHER, id="langgraph-messages"),
]


@pytest.fixture
def events(request: pytest.FixtureRequest, sdk: ModuleType) -> list[Any]:
    """Return the events of this name."""
    named: list[Any] = getattr(sdk, request.param)
    return named


@pytest.mark.parametrize(("events", "chunks"), SOURCES, indirect=["events"])
def test_events_become_text(events: list[Any], chunks: list[Any]) -> None:
    assert items("text", events) == ["Once ", "upon"]


@pytest.mark.parametrize(("events", "chunks"), SOURCES, indirect=["events"])
def test_events_become_chunks_of_a_message(events: list[Any], chunks: list[Any]) -> None:
    assert items("ai-sdk", events) == chunks


@pytest.mark.parametrize(("events", "chunks"), SOURCES, indirect=["events"])
def test_events_are_the_same_as_dicts(events: list[Any], chunks: list[Any]) -> None:
    as_json = items("ndjson", events)
    assert len(as_json) == len(events)
    assert items("ai-sdk", as_json) == chunks


def test_what_a_helper_derives_from_events_is_not_told_twice(sdk: ModuleType) -> None:
    assert items("ai-sdk", sdk.DERIVED) == []
    assert items("text", sdk.DERIVED) == []


def test_a_second_message_has_parts_of_its_own(sdk: ModuleType) -> None:
    twice = items("ai-sdk", sdk.ANTHROPIC_EVENTS * 2)
    starts = [item["id"] for item in twice if item["type"] == "text-start"]
    assert starts == ["text-2", "text-4"]


def test_blocks_of_content_are_told_apart(sdk: ModuleType) -> None:
    blocks = [
        sdk.message([{"type": "thinking", "thinking": "Hm.", "index": 0}]),
        sdk.message([{"type": "text", "text": "Once", "index": 1}, "upon"]),
    ]
    chunks = items("ai-sdk", blocks)
    assert [(chunk["type"], chunk.get("delta")) for chunk in chunks] == [
        ("reasoning-start", None),
        ("reasoning-delta", "Hm."),
        ("text-start", None),
        ("text-delta", "Once"),
        ("text-start", None),
        ("text-delta", "upon"),
        ("reasoning-end", None),
        ("text-end", None),
        ("text-end", None),
    ]


def test_an_input_that_is_no_json_is_an_error_of_the_tool(sdk: ModuleType) -> None:
    broken = [*sdk.CHAT[3:5], sdk.CHAT[6]]
    assert items("ai-sdk", broken)[-1] == {
        "type": "tool-input-error",
        "toolCallId": "call_1",
        "toolName": "weather",
        "input": '{"city":',
        "errorText": "the input of the tool is not JSON",
    }


@pytest.mark.parametrize("failure", ["openai", "openai-failed", "anthropic"])
@pytest.mark.parametrize("format_", ["text", "ai-sdk"])
def test_an_error_that_the_model_tells_of_fails_the_run(
    format_: str, failure: str, sdk: ModuleType
) -> None:
    with pytest.raises(ModelFailed, match="Overloaded"):
        items(format_, sdk.FAILURES[failure])


def test_an_error_for_the_page_is_a_chunk_like_others() -> None:
    chunk = {"type": "error", "errorText": "no"}
    assert items("ai-sdk", [chunk]) == [chunk]
