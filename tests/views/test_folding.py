"""Folding of deltas: what is joined, what stays as it is, and where the events end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.background import at_once
from gateway.features.compact.folding import FoldedEvent, fold

SSE = "text/event-stream"
JSON = "application/json"


def sse(event: object, name: str = "", line_end: str = "\n") -> bytes:
    """Return an event as providers write it."""
    head = f"event: {name}{line_end}" if name else ""
    data = json.dumps(event, ensure_ascii=False)
    return f"{head}data: {data}{line_end}{line_end}".encode()


def chat(delta: object, **fields: object) -> dict[str, Any]:
    """Return a chunk of a chat completion with one choice."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}
    return {**chunk, **fields}


def arguments(text: str, **fields: object) -> dict[str, Any]:
    """Return a chunk of a chat completion with a piece of a tool's arguments."""
    return chat({"tool_calls": [{"index": 0, "function": {"arguments": text}, **fields}]})


def block(kind: str, name: str, text: str, index: int = 0) -> dict[str, Any]:
    """Return a delta of one of Anthropic's content blocks."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: text}}


def numbered(text: str, number: int, **fields: object) -> dict[str, Any]:
    """Return a delta of OpenAI's responses."""
    place = {"item_id": "m", "output_index": 0, "content_index": 0, "logprobs": []}
    kind = "response.output_text.delta"
    return {"type": kind, "sequence_number": number, **place, "delta": text, **fields}


def folded(events: list[dict[str, Any]], content_type: str = SSE) -> list[dict[str, Any]]:
    """Return the events that a fold makes of these, each of which was an append of its own."""
    if content_type == JSON:
        records = [json.dumps(event).encode() for event in events]
        return [json.loads(it.data) for it in at_once(fold(JSON, 0, records))]
    records = [sse(event, event.get("type", "")) for event in events]
    found = at_once(fold(SSE, 0, records))
    return [json.loads(it.data.partition(b"data: ")[2]) for it in found]


JOINED: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "chat text": (
        [chat({"content": text}) for text in ("Gr", "üße ", "👩‍👩‍👧")],
        chat({"content": "Grüße 👩‍👩‍👧"}),
    ),
    "chat refusal": (
        [chat({"refusal": "I "}), chat({"refusal": "won't"})],
        chat({"refusal": "I won't"}),
    ),
    "chat reasoning": (
        [chat({"reasoning_content": "a"}), chat({"reasoning_content": "b"})],
        chat({"reasoning_content": "ab"}),
    ),
    "chat padding": (
        [chat({"content": "a"}, obfuscation="xy"), chat({"content": "b"}, obfuscation="z")],
        chat({"content": "ab"}, obfuscation="z"),
    ),
    "chat tool arguments": ([arguments('{"a'), arguments('":1}')], arguments('{"a":1}')),
    "completion": (
        [{"object": "text_completion", "choices": [{"index": 0, "text": it}]} for it in "ab"],
        {"object": "text_completion", "choices": [{"index": 0, "text": "ab"}]},
    ),
    "response text": ([numbered("a", 4), numbered("b", 5), numbered("c", 6)], numbered("abc", 6)),
    "anthropic text": (
        [block("text_delta", "text", "a"), block("text_delta", "text", "b")],
        block("text_delta", "text", "ab"),
    ),
    "anthropic thinking": (
        [block("thinking_delta", "thinking", "a"), block("thinking_delta", "thinking", "b")],
        block("thinking_delta", "thinking", "ab"),
    ),
    "anthropic tool input": (
        [
            block("input_json_delta", "partial_json", '{"'),
            block("input_json_delta", "partial_json", "1"),
        ],
        block("input_json_delta", "partial_json", '{"1'),
    ),
    "ui text": (
        [{"type": "text-delta", "id": "t", "delta": it} for it in "ab"],
        {"type": "text-delta", "id": "t", "delta": "ab"},
    ),
    "ui tool input": (
        [{"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": it} for it in "12"],
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "12"},
    ),
    "ag-ui text with times": (
        [
            {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": it, "timestamp": ord(it)}
            for it in "ab"
        ],
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "ab", "timestamp": ord("b")},
    ),
    "ag-ui tool arguments": (
        [{"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": it} for it in "12"],
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "12"},
    ),
}


@pytest.mark.parametrize("content_type", [SSE, JSON])
@pytest.mark.parametrize("case", JOINED)
def test_neighbouring_deltas_of_one_part_become_one_event(case: str, content_type: str) -> None:
    events, joined = JOINED[case]
    assert folded(events, content_type) == [joined]


APART: dict[str, list[dict[str, Any]]] = {
    "parts in turns": [block("text_delta", "text", "a", index) for index in (0, 1, 0, 1)],
    "text and thinking": [
        block("text_delta", "text", "a"),
        block("thinking_delta", "thinking", "b"),
    ],
    "signatures": [block("signature_delta", "signature", it) for it in "ab"],
    "citations": [block("citations_delta", "citation", it) for it in "ab"],
    "answers with other ids": [chat({"content": "a"}, id=it) for it in "xy"],
    "other times of creation": [chat({"content": "a"}, created=it) for it in (1, 2)],
    "chunks with usage": [chat({"content": "a"}, usage={"total_tokens": it}) for it in (1, 1)],
    "chunks with a role": [chat({"role": "assistant", "content": it}) for it in "ab"],
    "first pieces of tool calls": [arguments(it, id="call_1", type="function") for it in "ab"],
    "reasoning with details": [
        chat({"reasoning": it, "reasoning_details": [{"signature": it}]}) for it in "ab"
    ],
    "log probabilities": [numbered(it, 1, logprobs=[{"token": it}]) for it in "ab"],
    "several choices": [
        {**chat({}), "choices": [{"index": it, "delta": {"content": "a"}} for it in (0, 1)]}
        for _ in "ab"
    ],
    "unknown types": [{"type": "pixel-delta", "delta": it} for it in "ab"],
    "deltas that are no text": [{"type": "text-delta", "id": "t", "delta": it} for it in (1, 2)],
    "deltas without their text": [{"type": "text-delta", "id": "t"}] * 2,
    "provider metadata that differs": [
        {"type": "text-delta", "id": "t", "delta": "a", "providerMetadata": {"p": {"s": it}}}
        for it in "ab"
    ],
}


@pytest.mark.parametrize("case", APART)
def test_other_events_stay_apart_and_byte_by_byte_as_they_are(case: str) -> None:
    records = [sse(event, event.get("type", "")) for event in APART[case]]
    found = at_once(fold(SSE, 0, records))
    assert [event.data for event in found] == records


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([b"data: [DONE]\n\n"] * 2, id="no object"),
        pytest.param([b'data: {"type": "text-delta"\n\n'] * 2, id="broken JSON"),
        pytest.param([b": ping\n\n"] * 2, id="comments"),
        pytest.param([b"id: 1\n" + sse(chat({"content": "a"}))] * 2, id="events with ids"),
        pytest.param([b'data: {"a":\ndata: 1}\n\n'] * 2, id="data on two lines"),
        pytest.param([b"\n", b"\n\n", b""], id="blank lines"),
        pytest.param(
            [b'data: {"type": "text-delta", "id": "t", "delta": "\\ud83d"}\n\n'] * 2,
            id="half characters",
        ),
        pytest.param([b"data: " + b"[" * 50_000 + b"\n\n"] * 2, id="deep nesting"),
    ],
)
def test_what_is_not_understood_passes_byte_by_byte(records: list[bytes]) -> None:
    found = at_once(fold(SSE, 0, records))
    assert b"".join(event.data for event in found) == b"".join(records)


def test_bytes_that_are_not_utf_8_are_u_fffd_and_a_character_may_be_cut_by_a_record() -> None:
    records = [b"\xff: \xc3", b"\xa9 \xc3(\n\n", b"\xa9 data: \xff\n\n"]
    found = at_once(fold(SSE, 0, records))
    assert b"".join(event.data for event in found[:2]).decode() == "\ufffd: \u00e9 \ufffd(\n\n"
    assert found[2].data == b"\xa9 data: \xef\xbf\xbd\n\n"  # a range may begin inside a character
    assert [event.end for event in found] == [4, 10, 21]


def test_an_event_that_completes_the_record_before_is_not_joined() -> None:
    """Its name is in the record before."""
    delta = sse({"type": "text-delta", "id": "t", "delta": "a"})
    records = [b"event: other\n", delta, delta, delta]
    found = at_once(fold(SSE, 0, records))
    assert [event.data for event in found[:2]] == records[:2]
    assert len(found) == 3


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CR LF"])
def test_line_ends_stay_as_the_writer_chose_them(line_end: str) -> None:
    records = [sse(chat({"content": it}), "chunk", line_end) for it in "ab"]
    [event] = at_once(fold(SSE, 0, records))
    ends = line_end.encode()
    assert event.data.startswith(b"event: chunk" + ends)
    assert event.data.endswith(ends * 2)
    assert event.data.count(b"\r") == (3 if line_end == "\r\n" else 0)


def test_an_event_ends_where_the_last_record_that_it_stands_for_does() -> None:
    records = [sse(chat({"content": it})) for it in "abc"] + [sse(chat({}, usage={"a": 1}))]
    ends = [100 + sum(map(len, records[:count])) for count in (3, 4)]
    assert [event.end for event in at_once(fold(SSE, 100, records))] == ends


def test_messages_of_one_append_of_json_are_joined_and_end_with_it() -> None:
    event = b'{"type":"text-delta","id":"t","delta":"a"}'
    found = at_once(fold(JSON, 10, [event + b"," + event, event]))
    joined = b'{"type":"text-delta","id":"t","delta":"aaa"}'
    assert found == [FoldedEvent(10 + 3 * len(event) + 1, joined)]


def test_a_stream_of_another_type_stays_as_it_is() -> None:
    records = [b'{"type":"text-delta","id":"t","delta":"a"}'] * 2
    found = at_once(fold("text/plain", 0, records))
    assert [event.data for event in found] == records


def test_a_number_that_cannot_be_written_keeps_the_events_apart() -> None:
    record = b'data: {"type":"text-delta","id":%d,"delta":"a"}\n\n' % 10**400
    found = at_once(fold(SSE, 0, [record, record]))
    assert b"".join(event.data for event in found).count(b"1" + b"0" * 400) in {1, 2}
