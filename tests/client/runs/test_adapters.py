"""Events of models, frameworks and applications, as text and as chunks of a UI message.

What real SDKs give is compared with the AI SDK in `test_ui_messages.py`. Here are the odd ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydantic
import pytest
from pydantic.alias_generators import to_camel

from headgate.dialects.parts import ModelFailed
from headgate.json_values import json_text
from headgate.runs.formats import FORMATS
from tests.client.runs import recordings as sends

if TYPE_CHECKING:
    from collections.abc import Iterable

BY = "(by the provider) "
NO_JSON = "the input of the tool is not JSON"
CITY = ('{"city":', '"Rome"}')
SHOWN = ("id", "delta", "toolCallId", "toolName", "inputTextDelta", "input", "output", "errorText")


def items(format_: str, events: Iterable[object]) -> list[Any]:
    """The items of a run of these events, as they stand in the stream."""
    writer = FORMATS[format_].writer()
    found = [item for event in events for item in writer.items(event)]
    whole: list[Any] = json.loads(json_text([*found, *writer.closing()]))
    return whole


def brief(events: Iterable[object]) -> list[str]:
    """The types of the chunks with what they say; no metadata, and no empty pieces."""
    return [
        BY * bool(chunk.get("providerExecuted") and chunk["dynamic"])
        + " ".join([chunk["type"], *(str(chunk[name]) for name in SHOWN if name in chunk)])
        for chunk in items("ai-sdk", events)
        if chunk["type"] != "message-metadata" and chunk.get("delta") != ""
    ]


def usages(events: Iterable[object]) -> list[dict[str, Any]]:
    metadata = [it.get("messageMetadata") for it in items("ai-sdk", events)]
    return [it["usage"] for it in metadata if it]


def sent(body: bytes) -> list[dict[str, Any]]:
    """Return the data of the events of an answer."""
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]


def message(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "AIMessageChunk", "id": "run-1", "content": content, **more}


def call_chunk(args: str, **first: object) -> dict[str, Any]:
    piece = {"name": None, "id": None, "index": 0, "type": "tool_call_chunk", **first, "args": args}
    return message("", tool_call_chunks=[piece])


CHAT = sent(
    sends.chat(
        *({"content": word} for word in ("", "Once ", "upon")),
        sends.chat_call(0, "", "call_1"),
        *(sends.chat_call(0, piece) for piece in CITY),
        finish="tool_calls",
    )
)
RESPONSES = sent(
    sends.response(
        sends.reasoning("Hm."), sends.message("Once ", "upon"), sends.call("call_1", *CITY)
    )
)
ANTHROPIC = sent(
    sends.anthropic(
        sends.thinking("Hm."),
        sends.text("Once ", "upon"),
        sends.tool_use("call_1", *CITY),
        reason="tool_use",
        output_tokens=9,
    )
)
LANGCHAIN = [
    message("Once "),
    message("upon"),
    call_chunk("", name="weather", id="call_1"),
    *map(call_chunk, CITY),
    message("", chunk_position="last"),
]
STREAMED = [
    {"event": "on_chain_start", "name": "agent", "run_id": "1", "data": {"input": "?"}},
    *(
        {"event": "on_chat_model_stream", "run_id": "2", "data": {"chunk": chunk}}
        for chunk in LANGCHAIN[:-1]
    ),
    {"event": "on_chat_model_end", "run_id": "2", "data": {"output": message("", type="ai")}},
    {"event": "on_tool_end", "run_id": "3", "data": {"output": "sun"}},
]


def text(id_: str, *words: str) -> list[str]:
    return [f"text-start {id_}", *(f"text-delta {id_} {it}" for it in words), f"text-end {id_}"]


def step(*chunks: str) -> list[str]:
    return ["start-step", *chunks, "finish-step"]


ONCE = ("Once ", "upon")
THOUGHT = ["reasoning-start reasoning-1", "reasoning-delta reasoning-1 Hm."]
THOUGHT += ["reasoning-end reasoning-1"]
CALLED = [
    "tool-input-start call_1 weather",
    *(f"tool-input-delta call_1 {piece}" for piece in CITY),
]
CALL = "tool-input-available call_1 weather {'city': 'Rome'}"
# These tell that the text is complete only with the message.
TOGETHER = step(*text("text-1", *ONCE)[:-1], *CALLED, "text-end text-1", CALL)
ONE_BY_ONE = step(*THOUGHT, *text("text-2", *ONCE), *CALLED, CALL)
ANSWERS = {
    "openai-chat": (CHAT, TOGETHER),
    "openai-responses": (RESPONSES, ONE_BY_ONE),
    "anthropic": (ANTHROPIC, ONE_BY_ONE),
    "langchain": (LANGCHAIN, TOGETHER),
    "langchain-events": (STREAMED, TOGETHER),
    "langgraph-messages": ([(it, {"langgraph_node": "agent"}) for it in LANGCHAIN], TOGETHER),
}


@pytest.mark.parametrize(("events", "chunks"), ANSWERS.values(), ids=ANSWERS)
def test_events_become_text_and_chunks_of_a_ui_message(
    events: list[Any], chunks: list[str]
) -> None:
    assert items("text", events) == [*ONCE]
    assert brief(events) == chunks


@pytest.mark.parametrize("events", [CHAT, RESPONSES, ANTHROPIC], ids=["chat", "responses", "own"])
def test_deltas_of_text_alone_become_a_complete_text_part(events: list[Any]) -> None:
    deltas = [event for event in events if "Once " in str(event) or "'upon'" in str(event)]
    deltas = [event for event in deltas if not str(event.get("type")).endswith("done")]
    assert brief(deltas) == step(*text("text-1", *ONCE))


def _as(chunk: dict[str, Any], id_: str) -> dict[str, Any]:
    return {**chunk, "id": id_}


def _index_0(call_id: str, arguments: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    delta = {"tool_calls": [{"index": 0, "id": call_id, "function": function}]}
    return {**CHAT[1], "choices": [{"index": 0, "delta": delta}]}


def _output(call_id: str) -> dict[str, Any]:
    return {"type": "tool-output-available", "toolCallId": call_id, "output": "sun"}


def _data(event: str, **data: object) -> dict[str, Any]:
    return {"event": event, "run_id": "3", "data": data}


OUTPUT = "tool-output-available call_1 sun"
ANSWERED = {"type": "tool", "content": "sun", "tool_call_id": "call_1"}
OWN_CALL = {"type": "tool-input-available", "toolCallId": "1", "toolName": "t", "input": {}}
START, END = {"type": "start-step"}, {"type": "finish-step"}
DERIVED = [
    {"type": "text", "text": "upon", "snapshot": "Once upon"},
    {"type": "input_json", "partial_json": '"Rome"}', "snapshot": {"city": "Rome"}},
    {"type": "content.delta", "delta": "upon", "snapshot": "Once upon", "parsed": None},
    {"type": "ping"},
]
FILTERED = {"id": "", "object": "", "choices": [], "prompt_filter_results": [{"index": 0}]}
FAILED = ValueError("of nobody's business")
BOOKED = {"action_requests": [{"name": "book", "args": {"city": "Rome"}}]}
INTERRUPT = ("updates", {"__interrupt__": [{"value": BOOKED, "id": "i1"}]})
SEARCHED = sends.own_call("file_search_call", "completed", queries=["rome"])


SEARCH = {"id": "fi_0", "status": "in_progress", "type": "file_search_call"}
FOUND = {**SEARCH, "status": "completed", "queries": ["rome"]}
BLOCKED = {"type": "web_fetch_tool_result_error"}


def own_tool(name: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    called = sends.tool_use("c", '{"a":', "6}", name=name, type_="server_tool_use")
    return sent(sends.anthropic(called, sends.result(f"{name}_tool_result", given, "c")))


def by_provider(call: str, given: object, end: str, *pieces: str) -> list[str]:
    call_id = call.split()[0]
    return step(
        f"{BY}tool-input-start {call}",
        *(f"tool-input-delta {call_id} {piece}" for piece in pieces),
        f"{BY}tool-input-available {call} {given}",
        f"{BY}tool-output-{end}",
    )


ODD: dict[str, tuple[list[Any], list[str]]] = {
    "events that helpers of SDKs derive from others": (DERIVED, []),
    "filters alone, which Azure sends first": ([FILTERED], []),
    "a message_start that is repeated": ([ANTHROPIC[0], *ANTHROPIC], ONE_BY_ONE),
    "another message": (
        [*ANTHROPIC, *sent(sends.anthropic(sends.text("Yes."), id_="2"))],
        [*ONE_BY_ONE, *step(*text("text-3", "Yes."))],
    ),
    "another completion with the same id": (
        [*CHAT, *CHAT[:2]],
        [*TOGETHER, *step(*text("text-2", "Once "))],
    ),
    "two completions at once": (
        [CHAT[1], _as(CHAT[2], "b"), CHAT[1], _as(CHAT[2], "b")],
        [
            *step(*text("text-1", "Once ")),
            "start-step",
            *text("text-2", "upon")[:2],
            *text("text-3", "Once ")[:2],
            "text-delta text-2 upon",
            *("text-end text-2", "text-end text-3", "finish-step"),
        ],
    ),
    "calls that share an index": (
        [_index_0("a", '{"a":'), _index_0("a", "1}"), _index_0("b", "{}"), CHAT[6]],
        step(
            *("tool-input-start a weather", 'tool-input-delta a {"a":', "tool-input-delta a 1}"),
            *("tool-input-start b weather", "tool-input-delta b {}"),
            *("tool-input-available a weather {'a': 1}", "tool-input-available b weather {}"),
        ),
    ),
    "a call whose input is cut": (
        [*CHAT[3:5], CHAT[6]],
        step(
            *CALLED[:2],
            'tool-input-error call_1 weather {"city": the input of the tool is not JSON',
        ),
    ),
    "thinking in blocks of LangChain": (
        [
            message([{"type": "thinking", "thinking": "Hm.", "index": 0}]),
            message([{"type": "text", "text": "Once ", "index": 1}, "upon"]),
        ],
        step(*THOUGHT, *text("text-2", *ONCE)),
    ),
    "reasoning beside the content of LangChain": (
        [message("", additional_kwargs={"reasoning_content": "Hm."}), *LANGCHAIN[:2]],
        step(*THOUGHT, *text("text-2", *ONCE)),
    ),
    "what tools of LangChain answered": (
        [
            _data("on_tool_end", output=ANSWERED),
            _data("on_tool_error", error=FAILED, tool_call_id="call_2", input={}),
            _data("on_tool_error", error=FAILED),
        ],
        [OUTPUT, "tool-output-error call_2 the tool failed: ValueError"],
    ),
    "the output of a tool, before the model is asked again": (
        [*CHAT, _output("call_1"), *(_as(chunk, "b") for chunk in CHAT[:3])],
        [*TOGETHER[:-1], OUTPUT, TOGETHER[-1], *step(*text("text-2", *ONCE))],
    ),
    "the output of a tool that an earlier run has called": (
        [_output("call_1"), "Once ", "upon"],
        [OUTPUT, *step(*text("text-1", *ONCE))],
    ),
    "a call of the application's": (
        [{"type": "data-a", "data": 1}, OWN_CALL],
        ["data-a", *step("tool-input-available 1 t {}")],
    ),
    "steps of the application's": (
        [START, {"type": "text-start", "id": "1"}, START, "Once ", "upon", END, END],
        [*step("text-start 1", "text-end 1"), *step(*text("text-1", *ONCE))],
    ),
    "an interrupt of LangGraph for a call that it has not streamed": (
        [INTERRUPT, INTERRUPT],
        step(
            *("tool-input-start i1-0 book", 'tool-input-delta i1-0 {"city": "Rome"}'),
            *("tool-input-available i1-0 book {'city': 'Rome'}", "tool-approval-request i1-0"),
        ),
    ),
    "a tool of OpenAI": (
        sent(sends.response(SEARCHED)),
        by_provider("fi_0 file_search", SEARCH, f"available fi_0 {FOUND}", json.dumps(SEARCH)),
    ),
    "a tool of Anthropic": (
        own_tool("code_execution", {"stdout": "42"}),
        by_provider("c code_execution", {"a": 6}, "available c {'stdout': '42'}", '{"a":', "6}"),
    ),
    "a tool of Anthropic that fails": (
        own_tool("web_fetch", BLOCKED),
        by_provider("c web_fetch", {"a": 6}, f"error c {json.dumps(BLOCKED)}", '{"a":', "6}"),
    ),
    "an error of the application's": ([{"type": "error", "errorText": "no"}], ["error no"]),
}


@pytest.mark.parametrize(("events", "chunks"), ODD.values(), ids=ODD)
def test_odd_events_become_chunks_that_a_page_can_show(
    events: list[Any], chunks: list[str]
) -> None:
    assert brief(events) == chunks


def test_a_tool_output_adds_no_text() -> None:
    assert items("text", [ANSWERED]) == []


def test_null_members_are_left_out_of_chunks_and_their_values_keep_nulls() -> None:
    call = {"type": "tool-input-available", "toolCallId": "1", "toolName": "t"}
    output = {"type": "tool-output-available", "toolCallId": "1"}
    nulls = {"a": None, "b": [None, {"c": None}]}
    found = items(
        "ai-sdk",
        [
            {**call, "input": nulls, "dynamic": None, "providerMetadata": None, "title": None},
            {**output, "output": None, "preliminary": None},
            {**output, "output": nulls, "providerMetadata": {"a": {"b": None}}},
            {"type": "data-a", "id": None, "data": None, "transient": None},
            {"type": "finish", "finishReason": None, "messageMetadata": None},
            {"type": "done"},
        ],
    )
    assert found == [
        {"type": "start-step"},
        {**call, "input": nulls},
        {**output, "output": None},
        {**output, "output": nulls, "providerMetadata": {"a": {"b": None}}},
        {"type": "data-a", "data": None},
        {"type": "finish-step"},
    ]


class City(pydantic.BaseModel):
    """What an application or a tool gives."""

    model_config = pydantic.ConfigDict(alias_generator=to_camel, populate_by_name=True)
    full_name: str
    of_country: str | None = None


@dataclass
class Place:
    """An object that has one of another kind."""

    city: City
    _secret: str = "not shown"


def test_objects_are_written_by_the_names_that_their_fields_have_in_json() -> None:
    city, place = City(full_name="Rome"), Place(City(full_name="Oslo"))
    written = [{"fullName": "Rome", "ofCountry": None}]
    written.append({"fullName": "Oslo", "ofCountry": None})
    assert items("sse", [city, place]) == [written[0], {"city": written[1]}]
    output = {"type": "tool-output-available", "toolCallId": "1", "output": [city, place]}
    (chunk,) = items("ai-sdk", [output])
    assert chunk["output"] == [written[0], {"city": written[1]}]


REASONS = [
    ({"finish_reason": "MAX_TOKENS"}, "length"),
    ({"stop_reason": "refusal"}, "content-filter"),
    ({"done_reason": "stop"}, "stop"),
    ({"incomplete_details": {"reason": "content_filter"}}, "content-filter"),
    ({"finish_reason": "by the provider's mood"}, "other"),
    ({}, None),
]


@pytest.mark.parametrize(("metadata", "reason"), REASONS, ids=str)
def test_finish_reasons_of_langchain_are_mapped_to_those_of_the_ai_sdk(
    metadata: dict[str, object], reason: str | None
) -> None:
    writer = FORMATS["ai-sdk"].writer()
    writer.items(message("Once", response_metadata=metadata))
    assert writer.finish_reason == reason


def test_token_counts_become_message_metadata_with_their_sum() -> None:
    first = {"input_tokens": 7, "output_tokens": 0, "total_tokens": 7}
    last = {"input_tokens": 0, "output_tokens": 5, "output_token_details": {"reasoning": 2}}
    chunks = [message("", usage_metadata=counts) for counts in (first, last)]
    assert usages(chunks)[-1] == {
        "inputTokens": 7,
        "outputTokens": 5,
        "totalTokens": 12,
        "inputTokenDetails": {"noCacheTokens": 7},
        "outputTokenDetails": {"textTokens": 3, "reasoningTokens": 2},
    }
    assert [it["outputTokens"] for it in usages(ANTHROPIC * 2)] == [9, 18]
    repeated = [{**chunk, "usage": CHAT[-1]["usage"]} for chunk in CHAT]
    assert [it["totalTokens"] for it in usages(repeated)] == [55]


OVERLOADED = {"code": "server_error", "message": "Overloaded"}
FAILURES: dict[str, dict[str, Any]] = {
    "openai": {"type": "error", "sequence_number": 0, **OVERLOADED, "param": None},
    "openai-failed": {"type": "response.failed", "response": {"id": "r", "error": OVERLOADED}},
    "openai-chat": {"error": OVERLOADED},
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", **OVERLOADED}},
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("format_", ["text", "ai-sdk"])
def test_an_error_event_of_a_model_raises_model_failed(
    format_: str, failure: dict[str, Any]
) -> None:
    with pytest.raises(ModelFailed, match="Overloaded"):
        items(format_, [failure])
