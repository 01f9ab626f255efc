"""What each format puts into the stream, and what its readers are sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import openai._streaming
import pytest

from headgate.following import follow
from headgate.runs import RunState
from headgate.runs.stored import reading
from headgate.stream_requests import StreamRequests
from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import Feed, of, read, read_to

if TYPE_CHECKING:
    from headgate.runs import Answer, Runs
    from headgate.runs.formats import FormatName

ENDS = {"status": "finished"}  # what the record of an end tells
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
STEP, STEP_END = {"type": "start-step"}, {"type": "finish-step"}
FINISH = [{"type": "finish"}, "[DONE]"]
FAILED = [{"type": "finish", "finishReason": "error"}, "[DONE]"]
OPENING = {"type": "data-headgate-run", "data": {"format": "ai-sdk"}, "transient": True}


def data_of(body: bytes) -> list[str]:
    """The data of server-sent events."""
    return [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]


def events(body: bytes) -> list[Any]:
    """The data of server-sent events as JSON; `[DONE]` as it is."""
    return [data if data == "[DONE]" else json.loads(data) for data in data_of(body)]


async def chunks(answer: Answer | None) -> list[Any]:
    return events(await read(answer))


def said(number: int, *words: str) -> list[dict[str, str]]:
    """The chunks of a part of text."""
    part = {"id": f"text-{number}"}
    deltas = [{"type": "text-delta", **part, "delta": word} for word in words]
    return [{"type": "text-start", **part}, *deltas, {"type": "text-end", **part}]


async def test_format_text_sends_the_strings_of_the_source_as_plain_text(runs: Runs) -> None:
    answer = await runs.start("a", of("Once ", "", "upon é"), format="text")
    assert answer.status == 200
    assert answer.headers == {**HEADERS, "Content-Type": "text/plain; charset=utf-8"}
    assert await read(answer) == "Once upon é".encode()


async def test_format_sse_numbers_its_events_and_sends_an_end_event(runs: Runs) -> None:
    answer = await runs.start("a", of({"n": 1}, "c"), format="sse")
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert await read(answer) == (
        b'id: 1\ndata: {"n":1}\n\n'
        b'id: 2\ndata: "c"\n\n'
        b'id: 3\nevent: end\ndata: {"status":"finished","error":null}\n\n'
    )
    assert (await read(await runs.follow("a", 2))).startswith(b"id: 3\n")
    assert await runs.follow("a", 3) is None


async def test_format_ai_sdk_sends_a_ui_message_stream(runs: Runs) -> None:
    tool = {"type": "data-weather", "data": {"sun": True}}
    answer = await runs.start("chat 7", of("Once ", "upon", tool, "a time"), format="ai-sdk")
    assert answer.headers == {
        **HEADERS,
        "Content-Type": "text/event-stream",
        "x-vercel-ai-ui-message-stream": "v1",
        "x-workflow-run-id": "chat 7",
    }
    assert await chunks(answer) == [
        {"type": "start", "messageId": "chat 7"},
        *(STEP, *said(1, "Once ", "upon"), tool, *said(2, "a time"), STEP_END),
        *FINISH,
    ]


async def test_edges_of_a_source_s_own_are_replaced_but_for_metadata_and_reason(
    runs: Runs,
) -> None:
    own = [
        {"type": "start", "messageId": "other", "messageMetadata": {"model": "m"}},
        {"type": "finish", "finishReason": "length", "messageMetadata": {"tokens": 3}},
    ]
    answer = await runs.start("a", of(*own), format="ai-sdk", message_id="m 1")
    assert answer.headers["x-workflow-run-id"] == "a"
    assert await chunks(answer) == [
        {"type": "start", "messageId": "m 1"},
        {"type": "message-metadata", "messageMetadata": {"model": "m"}},
        {"type": "message-metadata", "messageMetadata": {"tokens": 3}},
        {"type": "finish", "finishReason": "length"},
        "[DONE]",
    ]


async def test_format_ai_sdk_sends_abort_or_error_before_finish(runs: Runs) -> None:
    answer = await runs.start("a", Feed("Once").source(), format="ai-sdk")
    await read_to(answer, b'"Once"}\n\n')
    await runs.stop("a")
    ends = [said(1)[-1], STEP_END]
    assert await chunks(answer) == [*ends, {"type": "abort"}, *FINISH]
    feed = Feed("Once", RuntimeError("key sk-123 is wrong"))
    sent = await chunks(await runs.start("b", feed.source(), format="ai-sdk"))
    error = {"type": "error", "errorText": "the source failed: RuntimeError"}
    assert sent[-5:] == [*ends, error, *FAILED]
    sent = await chunks(await runs.start("c", of("Once", {"no": "type"}), format="ai-sdk"))
    assert [*sent[-5:-3], *sent[-2:]] == [*ends, *FAILED]
    assert sent[-3]["type"] == "error"


async def test_format_ai_sdk_ends_the_text_of_an_old_producer_before_that_of_a_new_one(
    runs: Runs, other: Runs
) -> None:
    first = await runs.start("a", Feed("Once ").source(), format="ai-sdk")
    begun = await read_to(first, b'"Once "}\n\n')
    body = await read(await other.start("a", of("again"), format="ai-sdk"))
    start, once = {"type": "start", "messageId": "a"}, said(1, "Once ")
    again = [STEP, *said(1, "again"), STEP_END, *FINISH]
    assert events(body) == [start, STEP, *once[:-1], start, once[-1], STEP_END, *again]
    assert begun + await read(first) == body


async def test_an_orphaned_run_ends_after_its_open_parts_are_ended(runs: Runs, url: str) -> None:
    begun = [
        {"type": "text-start", "id": "1"},
        {"type": "text-end", "id": "1"},
        {"type": "reasoning-start", "id": "2"},
        {"type": "text-start", "id": "1"},
        {"type": "tool-input-start", "toolCallId": "3", "toolName": "weather"},
        {"type": "data-point", "id": 4, "data": {}},
    ]
    async with StreamRequests(f"{url}/a") as stream:  # and nobody holds its lease
        body = json.dumps([OPENING, *begun]).encode()
        await stream.create(content_type="application/json", body=body)
    assert await runs.state("a") == RunState("orphaned", "its producer is gone")
    assert await chunks(await runs.follow("a")) == [
        *begun,
        {"type": "reasoning-end", "id": "2"},
        {"type": "text-end", "id": "1"},
        {"type": "error", "errorText": "its producer is gone"},
        *FAILED,
    ]


async def test_a_negative_cursor_reads_from_the_tail_and_sends_the_tail_index(runs: Runs) -> None:
    await read(await runs.start("a", of("Once ", "upon"), format="ai-sdk"))
    answer = await runs.follow("a", -2)
    assert answer is not None
    # start, start-step, text-start, two deltas, text-end, finish-step, finish
    assert answer.headers["x-workflow-stream-tail-index"] == "7"
    assert await chunks(answer) == [STEP_END, *FINISH]
    whole = await read(await runs.follow("a"))
    assert await read(await runs.follow("a", -100)) == whole


# Either sooner than looks for orphans, or later.
@pytest.mark.parametrize("each_s", [0.02, ORPHAN_AFTER_S + 0.1])
@pytest.mark.parametrize("format_", ["sse", "ai-sdk"])
async def test_a_silent_run_sends_keep_alives_that_add_no_item(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, format_: FormatName, each_s: float
) -> None:
    monkeypatch.setattr(reading, "KEEP_ALIVE_S", each_s)
    feed, sent = Feed(), b": keep-alive\n"
    answer = await runs.start("a", feed.source(), format=format_)
    feed.give({"type": "data-a", "data": 1})
    silent = await read_to(answer, sent)
    feed.give({"type": "data-a", "data": 2})
    feed.end()
    heard = silent + await read(answer)
    again = await read(await runs.follow("a"))  # where a busy machine is silent, too
    assert heard.replace(sent, b"") == again.replace(sent, b"")
    # With an id, these need no data for an event.
    fields = {"Content-Type": "text/event-stream"}
    response = httpx.Response(200, content=heard, headers=fields)
    assert [it.data for it in httpx_sse.EventSource(response).iter_sse()] == data_of(again)
    decoder = openai._streaming.SSEDecoder()  # which has no public name
    assert [it.data for it in decoder.iter_bytes(iter([heard]))] == data_of(again)


async def test_protocol_clients_read_the_chunks_of_a_run_from_its_stream(
    runs: Runs, url: str
) -> None:
    sent = await chunks(await runs.start("a/b", of("Once"), format="ai-sdk"))
    async with StreamRequests(f"{url}/a%2Fb") as stream:
        bodies = [body async for batch in follow(stream, "-1") for body in batch.bodies]
    items = [item for body in bodies for item in json.loads(body)]
    records = [item for item in items if item["type"] == "data-headgate-run"]
    opening = {"format": "ai-sdk", "start": records[0]["data"]["start"]}
    data = [opening, {"status": "active"}, {"status": "finished", "count": 4}]
    assert [item["data"] for item in records] == data
    assert all(item["transient"] for item in records)
    assert [item for item in items if item not in records] == sent[:-1]


async def test_a_run_id_that_no_header_can_hold_is_left_out_of_the_headers(runs: Runs) -> None:
    answer = await runs.start("größe", of("Once"), format="ai-sdk")
    assert "x-workflow-run-id" not in answer.headers
    assert (await chunks(answer))[0] == {"type": "start", "messageId": "größe"}


async def test_a_value_that_is_not_quite_a_run_record_is_an_ordinary_item(runs: Runs) -> None:
    text = '{"type":"data-headgate-run","data":{"status":"failed"}}'
    items = [text, *({"data": data, "text": text} for data in ({}, ENDS)), "and on"]
    assert events(await read(await runs.start("a", of(*items), format="sse")))[:-1] == items
    assert await read(await runs.start("b", of(text))) == text.encode()
    assert await runs.state("b") == RunState("finished")
