"""What each format puts into the stream, and what its readers are sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import openai._streaming
import pytest
from headgate.following import follow
from headgate.runs import RunState
from headgate.runs.runs import DAY_S
from headgate.runs.stored import reading
from headgate.stream_requests import ProducerStamp, StreamRequests

from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import Feed, of, read, read_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate.runs import Runs
    from headgate.runs.formats import FormatName

ENDS = {"status": "finished"}  # what the record of an end tells
STEP, STEP_END = {"type": "start-step"}, {"type": "finish-step"}


def events(body: bytes) -> list[object]:
    """The data of server-sent events; `[DONE]` as it is."""
    return [line if line == "[DONE]" else json.loads(line) for line in data_of(body)]


def data_of(body: bytes) -> list[str]:
    """Return the data of the events, each of which has one line of it."""
    return [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]


def seen_by_httpx_sse(body: bytes) -> Iterator[str]:
    """Yield what httpx-sse takes for events: with an id it needs no data for one."""
    response = httpx.Response(200, content=body, headers={"Content-Type": "text/event-stream"})
    for event in httpx_sse.EventSource(response).iter_sse():
        yield event.data


def seen_by_openai(body: bytes) -> Iterator[str]:
    """Yield what the SDK takes for events: with an id it needs no data for one."""
    # The decoder has no public name.
    for event in openai._streaming.SSEDecoder().iter_bytes(iter([body])):
        yield event.data


async def test_format_text_sends_the_strings_of_the_source_as_plain_text(runs: Runs) -> None:
    answer = await runs.start("a", of("Once ", "", "upon é"), format="text")
    assert answer.status == 200
    assert answer.headers == {
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
        "Content-Type": "text/plain; charset=utf-8",
    }
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
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
        "Content-Type": "text/event-stream",
        "x-vercel-ai-ui-message-stream": "v1",
        "x-workflow-run-id": "chat 7",
    }
    assert events(await read(answer)) == [
        {"type": "start", "messageId": "chat 7"},
        STEP,
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "Once "},
        {"type": "text-delta", "id": "text-1", "delta": "upon"},
        {"type": "text-end", "id": "text-1"},
        tool,
        {"type": "text-start", "id": "text-2"},
        {"type": "text-delta", "id": "text-2", "delta": "a time"},
        {"type": "text-end", "id": "text-2"},
        STEP_END,
        {"type": "finish"},
        "[DONE]",
    ]


async def test_start_and_finish_chunks_of_a_source_are_replaced_by_those_of_the_run(
    runs: Runs,
) -> None:
    own = [
        {"type": "start", "messageId": "other", "messageMetadata": {"model": "m"}},
        {"type": "finish"},
    ]
    assert events(await read(await runs.start("a", of(*own), format="ai-sdk"))) == [
        {"type": "start", "messageId": "a"},
        {"type": "message-metadata", "messageMetadata": {"model": "m"}},
        {"type": "finish"},
        "[DONE]",
    ]


async def test_message_id_sets_the_message_that_a_run_continues(runs: Runs) -> None:
    answer = await runs.start("a", of("Once"), format="ai-sdk", message_id="m 1")
    assert events(await read(answer))[0] == {"type": "start", "messageId": "m 1"}
    assert answer.headers["x-workflow-run-id"] == "a"


@pytest.mark.parametrize(
    ("format_", "message_id", "error"),
    [
        ("text", "1", "a run in the format ai-sdk: one in text has none"),
        ("sse", "1", "a run in the format ai-sdk: one in sse has none"),
        ("ai-sdk", "", "message_id is empty: leave it out"),
        ("ai-sdk", 1, "message_id is a str, not int"),
    ],
)
async def test_an_invalid_message_id_is_refused_and_creates_no_run(
    runs: Runs, format_: Any, message_id: Any, error: str
) -> None:
    feed = Feed("Once")
    with pytest.raises((TypeError, ValueError), match=error):
        await runs.start("a", feed.source(), format=format_, message_id=message_id)
    assert await runs.state("a") is None


async def test_a_finish_chunk_of_a_source_sets_the_finish_reason_of_the_run(runs: Runs) -> None:
    own = {"type": "finish", "finishReason": "length", "messageMetadata": {"tokens": 3}}
    assert events(await read(await runs.start("a", of("Once", own), format="ai-sdk")))[-4:] == [
        {"type": "message-metadata", "messageMetadata": {"tokens": 3}},
        STEP_END,
        {"type": "finish", "finishReason": "length"},
        "[DONE]",
    ]


async def test_an_unknown_finish_reason_fails_the_run_with_its_name(runs: Runs) -> None:
    own = {"type": "finish", "finishReason": "max_tokens"}
    await read(await runs.start("a", of("Once", own), format="ai-sdk"))
    state = await runs.state("a")
    assert state is not None
    assert state.status == "failed"
    assert "'max_tokens' - at `$.finishReason`" in str(state.error)


async def test_format_ai_sdk_sends_abort_or_error_before_finish(runs: Runs) -> None:
    feed = Feed("Once")
    answer = await runs.start("a", feed.source(), format="ai-sdk")
    await read_to(answer, b'"Once"}\n\n')
    await runs.stop("a")
    ends = [{"type": "text-end", "id": "text-1"}, STEP_END]
    finish = [{"type": "finish"}, "[DONE]"]
    assert events(await read(answer)) == [*ends, {"type": "abort"}, *finish]
    feed = Feed("Once", RuntimeError("key sk-123 is wrong"))
    body = await read(await runs.start("b", feed.source(), format="ai-sdk"))
    error = {"type": "error", "errorText": "the source failed: RuntimeError"}
    finish = [{"type": "finish", "finishReason": "error"}, "[DONE]"]
    assert events(body)[-5:] == [*ends, error, *finish]


async def test_format_ai_sdk_ends_the_text_of_an_old_producer_before_that_of_a_new_one(
    runs: Runs, other: Runs
) -> None:
    older, newer = Feed("Once "), Feed("again")
    first = await runs.start("a", older.source(), format="ai-sdk")
    begun = await read_to(first, b'"Once "}\n\n')
    second = await other.start("a", newer.source(), format="ai-sdk")
    newer.end()
    body = await read(second)
    start = {"type": "start", "messageId": "a"}
    assert events(body) == [
        start,
        STEP,
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "Once "},
        start,
        {"type": "text-end", "id": "text-1"},
        STEP_END,
        STEP,
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "again"},
        {"type": "text-end", "id": "text-1"},
        STEP_END,
        {"type": "finish"},
        "[DONE]",
    ]
    assert begun + await read(first) == body


async def test_format_ai_sdk_ends_open_parts_before_the_error_of_a_refused_item(runs: Runs) -> None:
    answer = await runs.start("a", of("Once", {"no": "type"}), format="ai-sdk")
    types = [chunk["type"] for chunk in events(await read(answer))[:-1]]  # type: ignore[index]
    assert types[-5:] == ["text-delta", "text-end", "finish-step", "error", "finish"]


async def test_an_orphaned_run_ends_after_its_open_parts_are_ended(runs: Runs, url: str) -> None:
    begun = [
        {"type": "text-start", "id": "1"},
        {"type": "text-end", "id": "1"},
        {"type": "reasoning-start", "id": "2"},
        {"type": "text-start", "id": "1"},
        {"type": "tool-input-start", "toolCallId": "3", "toolName": "weather"},
        {"type": "data-point", "id": 4, "data": {}},
    ]
    opening = {"type": "data-headgate-run", "data": {"format": "ai-sdk"}, "transient": True}
    async with StreamRequests(f"{url}/a") as stream:  # and nobody holds its lease
        body = json.dumps([opening, *begun]).encode()
        await stream.create(content_type="application/json", body=body)
    assert await runs.state("a") == RunState("orphaned", "its producer is gone")
    assert events(await read(await runs.follow("a"))) == [
        *begun,
        {"type": "reasoning-end", "id": "2"},
        {"type": "text-end", "id": "1"},
        {"type": "error", "errorText": "its producer is gone"},
        {"type": "finish", "finishReason": "error"},
        "[DONE]",
    ]


async def test_a_run_stored_without_steps_is_taken_over_and_read_to_its_end(
    runs: Runs, url: str
) -> None:
    begun = [
        {"type": "start", "messageId": "a"},
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "Once "},
    ]
    opening = {"type": "data-headgate-run", "data": {"format": "ai-sdk"}, "transient": True}
    claim = {**opening, "data": {"status": "active"}}
    async with StreamRequests(f"{url}/a") as stream:
        body = json.dumps([opening]).encode()
        await stream.create(content_type="application/json", ttl_s=DAY_S, body=body)
        producer = ProducerStamp("run", 0, 0)
        body = json.dumps([claim, *begun]).encode()
        await stream.append(body, content_type="application/json", producer=producer)
    answer = await runs.start("a", of("again"), format="ai-sdk")
    chunks = events(await read(answer))
    assert chunks[:6] == [
        *begun,
        {"type": "start", "messageId": "a"},
        {"type": "text-end", "id": "text-1"},
        STEP,
    ]
    assert chunks[-3:] == [STEP_END, {"type": "finish"}, "[DONE]"]


async def test_a_negative_cursor_reads_from_the_tail_and_sends_the_tail_index(runs: Runs) -> None:
    await read(await runs.start("a", of("Once ", "upon"), format="ai-sdk"))
    answer = await runs.follow("a", -2)
    assert answer is not None
    # start, start-step, text-start, two deltas, text-end, finish-step, finish
    assert answer.headers["x-workflow-stream-tail-index"] == "7"
    assert events(await read(answer)) == [
        STEP_END,
        {"type": "finish"},
        "[DONE]",
    ]
    whole = await read(await runs.follow("a"))
    assert await read(await runs.follow("a", -100)) == whole


@pytest.mark.parametrize("format_", ["sse", "ai-sdk"])
async def test_a_silent_run_sends_keep_alives_that_add_no_item(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, format_: FormatName
) -> None:
    monkeypatch.setattr(reading, "KEEP_ALIVE_S", 0.02)
    feed, sent = Feed(), b": keep-alive\n"
    answer = await runs.start("a", feed.source(), format=format_)
    feed.give({"type": "data-a", "data": 1})
    silent = await read_to(answer, sent * 3)
    feed.give({"type": "data-a", "data": 2})
    feed.end()
    heard = silent + await read(answer)
    again = await read(await runs.follow("a"))  # where a busy machine is silent, too
    assert heard.replace(sent, b"") == again.replace(sent, b"")
    assert [*seen_by_httpx_sse(heard)] == [*seen_by_openai(heard)] == data_of(again)


async def test_keep_alives_are_sent_although_orphan_checks_are_more_frequent(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "KEEP_ALIVE_S", ORPHAN_AFTER_S + 0.1)
    answer = await runs.start("a", Feed().source(), format="sse")
    assert await read_to(answer, b"\n") == b": keep-alive\n"


async def test_protocol_clients_read_the_chunks_of_a_run_from_its_stream(
    runs: Runs, url: str
) -> None:
    await read(await runs.start("a/b", of("Once"), format="ai-sdk"))
    async with StreamRequests(f"{url}/a%2Fb") as stream:
        bodies = [body async for batch in follow(stream, "-1") for body in batch.bodies]
    items = [item for body in bodies for item in json.loads(body)]
    told = [item for item in items if item["type"] == "data-headgate-run"]
    assert [item["data"] for item in told] == [
        {"format": "ai-sdk"},
        {"status": "active"},
        {"status": "finished"},
    ]
    assert all(item["transient"] for item in told)
    assert [item["type"] for item in items if item not in told] == [
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
    ]


async def test_a_run_id_that_no_header_can_hold_is_left_out_of_the_headers(runs: Runs) -> None:
    answer = await runs.start("größe", of("Once"), format="ai-sdk")
    assert "x-workflow-run-id" not in answer.headers
    assert events(await read(answer))[0] == {"type": "start", "messageId": "größe"}


@dataclass
class Forged:
    """What is encoded as a record would be."""

    data: dict[str, str]
    type: str = "data-headgate-run"


@pytest.mark.parametrize(
    ("format_", "forged"),
    [
        pytest.param("ai-sdk", vars(Forged(ENDS)), id="ai-sdk"),
        pytest.param("sse", vars(Forged(ENDS)), id="sse-as-a-dict"),
        pytest.param("sse", Forged(ENDS), id="sse-as-an-object"),
        pytest.param("sse", vars(Forged({"status": "done"})), id="sse-with-an-unknown-status"),
    ],
)
async def test_a_source_that_yields_a_forged_run_record_fails_its_run(
    runs: Runs, format_: FormatName, forged: object
) -> None:
    await read(await runs.start("a", of("Once", forged), format=format_))
    state = await runs.state("a")
    assert state is not None
    assert state.status == "failed"
    assert "data-headgate-run are Headgate's own" in str(state.error)


async def test_a_text_that_mentions_a_run_record_is_an_ordinary_item(runs: Runs) -> None:
    text = '{"type":"data-headgate-run","data":{"status":"failed"}}'
    assert await read(await runs.start("a", of(text))) == text.encode()
    assert await runs.state("a") == RunState("finished")


@pytest.mark.parametrize("data", [{}, ENDS])
async def test_a_value_without_the_type_of_a_run_record_is_an_ordinary_item(
    runs: Runs, data: dict[str, str]
) -> None:
    items = [{"data": data, "text": "see data-headgate-run"}, "and on"]
    sent = data_of(await read(await runs.start("a", of(*items), format="sse")))
    assert [json.loads(data) for data in sent[:-1]] == items


async def test_an_unknown_run_format_is_refused_with_its_name(runs: Runs) -> None:
    with pytest.raises(ValueError, match="a run has no format 'xml': there are text, sse"):
        await runs.start("a", of("Once"), format="xml")  # type: ignore[arg-type]
    assert await runs.state("a") is None
