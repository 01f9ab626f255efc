"""Events of the SDKs, by their own types, as text and as chunks of a UI message."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from headgate.dialects.parts import ModelFailed
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


UNCOMPARED = {"providerMetadata", "dynamic"}


def bare(chunks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chunks without what is for their provider, the traits of tools, and the tokens."""
    found = [{key: chunk[key] for key in chunk if key not in UNCOMPARED} for chunk in chunks]
    return [
        chunk for chunk in found if chunk["type"] != "message-metadata" and chunk.get("delta") != ""
    ]


SAID = [
    {"type": "text-delta", "delta": "Once "},
    {"type": "text-delta", "delta": "upon"},
]
CALLED: list[dict[str, Any]] = [
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
THOUGHT: list[dict[str, Any]] = [
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


def step(*chunks: object) -> list[object]:
    """Return the chunks as those of one call of the model."""
    return [{"type": "start-step"}, *chunks, {"type": "finish-step"}]


# These tell that the text is complete only with the message.
TOGETHER = step(*said(1)[:-1], *CALLED[:-1], said(1)[-1], CALLED[-1])
ONE_BY_ONE = step(*THOUGHT, *said(2), *CALLED)
SOURCES = [
    pytest.param("CHAT", TOGETHER, id="openai-chat"),
    pytest.param("HELPER", TOGETHER, id="openai-chat-helper"),
    pytest.param("RESPONSES_EVENTS", ONE_BY_ONE, id="openai-responses"),
    pytest.param("ANTHROPIC_EVENTS", ONE_BY_ONE, id="anthropic"),
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
def test_sdk_events_become_text(events: list[Any], chunks: list[Any]) -> None:
    assert items("text", events) == ["Once ", "upon"]


@pytest.mark.parametrize(("events", "chunks"), SOURCES, indirect=["events"])
def test_sdk_events_become_chunks_of_a_ui_message(events: list[Any], chunks: list[Any]) -> None:
    assert bare(items("ai-sdk", events)) == chunks


@pytest.mark.parametrize(("events", "chunks"), SOURCES, indirect=["events"])
def test_sdk_events_as_dicts_become_the_same_chunks(events: list[Any], chunks: list[Any]) -> None:
    as_json = items("sse", events)
    assert len(as_json) == len(events)
    assert bare(items("ai-sdk", as_json)) == chunks


@pytest.mark.parametrize("name", ["CHAT", "RESPONSES_EVENTS", "ANTHROPIC_EVENTS"])
def test_deltas_of_text_alone_become_a_complete_text_part(sdk: ModuleType, name: str) -> None:
    dumped: list[Any] = items("sse", getattr(sdk, name))
    events = [event for event in dumped if "Once " in str(event) or "'upon'" in str(event)]
    deltas = [event for event in events if not str(event.get("type")).endswith("done")]
    assert bare(items("ai-sdk", deltas)) == step(*said(1))


def test_events_that_sdk_helpers_derive_from_others_add_no_chunks(sdk: ModuleType) -> None:
    assert items("ai-sdk", sdk.DERIVED) == []
    assert items("text", sdk.DERIVED) == []


def test_a_second_message_of_a_model_gets_its_own_step_and_text_part(sdk: ModuleType) -> None:
    twice = items("ai-sdk", sdk.ANTHROPIC_EVENTS * 2)
    starts = [item["id"] for item in twice if item["type"] == "text-start"]
    assert starts == ["text-2", "text-4"]
    assert [item["type"] for item in twice].count("start-step") == 2


def test_a_thinking_block_of_langchain_ends_where_the_text_begins(sdk: ModuleType) -> None:
    blocks = [
        sdk.message([{"type": "thinking", "thinking": "Hm.", "index": 0}]),
        sdk.message([{"type": "text", "text": "Once ", "index": 1}, "upon"]),
    ]
    assert items("ai-sdk", blocks) == step(*THOUGHT, *said(2))


def test_reasoning_content_of_langchain_becomes_a_reasoning_part(sdk: ModuleType) -> None:
    thought = sdk.message("", additional_kwargs={"reasoning_content": "Hm."})
    assert items("ai-sdk", [thought, *sdk.LANGCHAIN[:2]]) == step(*THOUGHT, *said(2))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"stop_reason": "refusal"}, "content-filter"),
        ({"done_reason": "stop"}, "stop"),
        pytest.param(
            {"incomplete_details": {"reason": "content_filter"}},
            "content-filter",
            id="an-incomplete-response",
        ),
        ({"finish_reason": "by the provider's mood"}, "other"),
        ({}, None),
    ],
)
def test_finish_reasons_of_langchain_are_mapped_to_those_of_the_ai_sdk(
    sdk: ModuleType, told: dict[str, object], reason: str | None
) -> None:
    writer = FORMATS["ai-sdk"].writer()
    writer.items(sdk.message("Once", response_metadata=told))
    assert writer.finish_reason == reason


def test_token_counts_of_langchain_become_message_metadata(sdk: ModuleType) -> None:
    first = {"input_tokens": 7, "output_tokens": 0, "total_tokens": 7}
    counts = {"input_tokens": 0, "output_tokens": 5, "total_tokens": 5}
    last = counts | {"output_token_details": {"reasoning": 2}}
    chunks = [sdk.message("", usage_metadata=told) for told in (first, last)]
    assert items("ai-sdk", chunks)[-2]["messageMetadata"]["usage"] == {
        "inputTokens": 7,
        "outputTokens": 5,
        "totalTokens": 12,
        "inputTokenDetails": {"noCacheTokens": 7},
        "outputTokenDetails": {"textTokens": 3, "reasoningTokens": 2},
    }


def test_tool_end_and_tool_error_events_of_langchain_become_tool_outputs(sdk: ModuleType) -> None:
    answer = sdk.answered("sun")
    failed = {"error": ValueError("of nobody's business"), "tool_call_id": "call_2", "input": {}}
    events = [
        {"event": "on_tool_end", "run_id": "3", "data": {"output": answer}},
        {"event": "on_tool_error", "run_id": "4", "data": failed},
        {"event": "on_tool_error", "run_id": "5", "data": {"error": ValueError("of no call")}},
    ]
    chunks = [
        {"type": "tool-output-available", "toolCallId": "call_1", "output": "sun", "dynamic": True},
        {
            "type": "tool-output-error",
            "toolCallId": "call_2",
            "errorText": "the tool failed: ValueError",
            "dynamic": True,
        },
    ]
    assert items("ai-sdk", events) == chunks


def test_a_tool_output_adds_no_text(sdk: ModuleType) -> None:
    assert items("text", [sdk.answered("sun")]) == []


def test_a_tool_output_belongs_to_the_step_of_its_call(sdk: ModuleType) -> None:
    output = {"type": "tool-output-available", "toolCallId": "call_1", "output": "sun"}
    first = [*sdk.CHAT, output]
    again = [chunk.model_copy(update={"id": "chatcmpl-2"}) for chunk in sdk.CHAT[:3]]
    assert bare(items("ai-sdk", [*first, *again])) == [
        *TOGETHER[:-1],
        output,
        TOGETHER[-1],
        *step(*said(2)),
    ]


def test_a_second_completion_with_the_same_id_begins_another_step(sdk: ModuleType) -> None:
    types = [item["type"] for item in items("ai-sdk", [*sdk.CHAT, sdk.CHAT[0], sdk.CHAT[1]])]
    assert types.count("start-step") == types.count("finish-step") == 2


def test_interleaved_completions_get_text_parts_of_their_own(sdk: ModuleType) -> None:
    one, other = sdk.CHAT[1], sdk.CHAT[2].model_copy(update={"id": "chatcmpl-2"})
    assert items("ai-sdk", [one, other, one, other]) == [
        *step(*said(1)[:2], said(1)[-1]),
        {"type": "start-step"},
        {"type": "text-start", "id": "text-2"},
        {"type": "text-delta", "id": "text-2", "delta": "upon"},
        {"type": "text-start", "id": "text-3"},
        {"type": "text-delta", "id": "text-3", "delta": "Once "},
        {"type": "text-delta", "id": "text-2", "delta": "upon"},
        {"type": "text-end", "id": "text-2"},
        {"type": "text-end", "id": "text-3"},
        {"type": "finish-step"},
    ]


def test_a_tool_chunk_of_the_application_is_put_into_a_step() -> None:
    call = {"type": "tool-input-available", "toolCallId": "1", "toolName": "t", "input": {}}
    data = {"type": "data-a", "data": 1}
    assert items("ai-sdk", [data, call]) == [data, *step(call)]


def test_step_chunks_of_the_application_end_the_parts_that_are_open() -> None:
    start, end = step()
    begun = {"type": "text-start", "id": "1"}
    ended = {"type": "text-end", "id": "1"}
    assert items("ai-sdk", [start, begun, start, "Once ", "upon", end, end]) == [
        *step(begun, ended),
        *step(*said(1)),
    ]


def test_a_tool_output_for_a_call_of_an_earlier_run_begins_no_step() -> None:
    output = {"type": "tool-output-available", "toolCallId": "call_1", "output": "sun"}
    said_after = [{**chunk, "id": "text-1"} for chunk in said(1)]
    assert items("ai-sdk", [output, "Once ", "upon"]) == [output, *step(*said_after)]


def dump(chunk: Any, **delta: object) -> dict[str, Any]:
    """A chunk of chat completions as a dict, with a delta that the SDK's own types do not know."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    told: dict[str, Any] = chunk.model_dump(mode="json")
    return {**told, "choices": [choice]}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_of_openai_compatible_services_ends_where_the_text_begins(
    sdk: ModuleType, field: str
) -> None:
    thought = dump(sdk.CHAT[0], content="", **{field: "Hm."})
    answer = items("ai-sdk", [sdk.CHAT[0], thought, *sdk.CHAT[1:3], sdk.CHAT[6]])
    assert answer == step(*THOUGHT, *said(2))


def test_tool_calls_that_share_an_index_are_distinguished_by_their_ids(sdk: ModuleType) -> None:
    def call(call_id: str, arguments: str) -> dict[str, Any]:
        function = {"name": "weather", "arguments": arguments}
        return dump(sdk.CHAT[0], tool_calls=[{"index": 0, "id": call_id, "function": function}])

    pieces = [call("call_1", '{"a":'), call("call_1", "1}"), call("call_2", "{}"), sdk.CHAT[6]]
    called = [item for item in items("ai-sdk", pieces) if item["type"] == "tool-input-available"]
    assert [(item["toolCallId"], item["input"]) for item in called] == [
        ("call_1", {"a": 1}),
        ("call_2", {}),
    ]


def test_the_prompt_filter_results_of_azure_add_no_chunks() -> None:
    first = {"id": "", "object": "", "choices": [], "prompt_filter_results": [{"index": 0}]}
    assert items("ai-sdk", [first]) == items("text", [first]) == []


def test_usage_that_a_service_repeats_in_each_chunk_is_counted_once(sdk: ModuleType) -> None:
    usage = {"prompt_tokens": 4, "completion_tokens": 6}
    chunks = [chunk.model_dump(mode="json") | {"usage": usage} for chunk in sdk.CHAT]
    told = [item for item in items("ai-sdk", chunks) if item["type"] == "message-metadata"]
    assert [item["messageMetadata"]["usage"]["totalTokens"] for item in told] == [10]


def test_a_repeated_message_start_event_begins_no_second_message(sdk: ModuleType) -> None:
    events = sdk.ANTHROPIC_EVENTS
    assert items("ai-sdk", [events[0], *events]) == items("ai-sdk", events)


def test_tokens_of_several_model_calls_are_reported_as_their_sum(sdk: ModuleType) -> None:
    told = [
        item["messageMetadata"]["usage"]["outputTokens"]
        for item in items("ai-sdk", sdk.ANTHROPIC_EVENTS * 2)
        if item["type"] == "message-metadata"
    ]
    assert told == [9, 18]


def test_a_tool_input_that_is_no_json_becomes_an_error_of_the_tool(sdk: ModuleType) -> None:
    broken = [*sdk.CHAT[3:5], sdk.CHAT[6]]
    assert items("ai-sdk", broken)[-2] == {
        "type": "tool-input-error",
        "toolCallId": "call_1",
        "toolName": "weather",
        "input": '{"city":',
        "errorText": "the input of the tool is not JSON",
    }


@pytest.mark.parametrize("failure", ["openai", "openai-failed", "anthropic"])
@pytest.mark.parametrize("format_", ["text", "ai-sdk"])
def test_an_error_event_of_a_model_raises_model_failed(
    format_: str, failure: str, sdk: ModuleType
) -> None:
    with pytest.raises(ModelFailed, match="Overloaded"):
        items(format_, sdk.FAILURES[failure])


def test_an_error_chunk_of_the_application_is_passed_on_unchanged() -> None:
    chunk = {"type": "error", "errorText": "no"}
    assert items("ai-sdk", [chunk]) == [chunk]
