"""What a page makes of a run that goes on with a message, when it is loaded anew."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from headgate.chats.ui_messages import continued
from headgate.runs.answer import Answer

from tests.client.runs.sources import Feed, of, read, read_to
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate.runs import Runs

OPENAI = {"openai": {"itemId": "1"}}
WEATHER = {"type": "tool-weather", "input": {"city": "Rome"}}
PARTS: list[dict[str, Any]] = [
    {"type": "step-start"},
    {"type": "reasoning", "id": "r", "text": "Hm.", "providerMetadata": OPENAI, "state": "done"},
    {"type": "text", "text": "Once", "providerMetadata": OPENAI, "state": "done"},
    {**WEATHER, "toolCallId": "1", "state": "output-available", "output": {"sky": "clear"}},
    {**WEATHER, "toolCallId": "2", "state": "output-error", "errorText": "no weather"},
    {**WEATHER, "toolCallId": "3", "state": "output-denied", "approval": {"id": "3"}},
    {**WEATHER, "toolCallId": "4", "state": "approval-requested", "approval": {"id": "4"}},
    {**WEATHER, "toolCallId": "5", "state": "input-available", "callProviderMetadata": OPENAI},
    {
        "type": "tool-weather",
        "toolCallId": "6",
        "state": "output-error",
        "rawInput": "{",
        "errorText": "no JSON",
    },
    {"type": "step-start"},
    {
        "type": "dynamic-tool",
        "toolName": "search",
        "toolCallId": "8",
        "state": "output-available",
        "input": {},
        "output": None,
        "providerExecuted": True,
        "preliminary": True,
        "resultProviderMetadata": OPENAI,
    },
    {"type": "source-url", "sourceId": "s", "url": "https://a", "title": "A"},
    {"type": "source-document", "sourceId": "d", "mediaType": "a/b", "title": "D", "filename": "d"},
    {"type": "file", "mediaType": "image/png", "url": "data:,"},
    {"type": "data-weather", "id": "w", "data": {"sky": "clear"}},
]
MESSAGE = {"id": "m 1", "role": "assistant", "parts": PARTS}


async def followed(runs: Runs) -> Answer:
    answer = await runs.follow("a")
    assert answer is not None
    return answer


@pytest.mark.usefixtures("processes")
async def test_a_reloaded_page_rebuilds_the_whole_message_of_a_continued_run(runs: Runs) -> None:
    await read(await runs.start("a", of("upon"), format="ai-sdk", message_id="m 1"))
    body = await read(continued(await followed(runs), MESSAGE))
    new = [{"type": "step-start"}, {"type": "text", "text": "upon", "state": "done"}]
    for version in ("6", "7"):
        made = subprocess.run(
            [NODE, ROOT / "tests/node/read_message.mjs", version],
            input=body,
            capture_output=True,
            check=True,
            timeout=60,
        )
        (message,) = json.loads(made.stdout)
        assert (message["id"], message["role"]) == ("m 1", "assistant")
        if version == "7":  # which has what was no JSON as the input
            broken = message["parts"][8]
            broken["rawInput"] = broken.pop("input")
        assert message["parts"] == [*PARTS, *new]


async def test_a_reloaded_page_repeats_no_finished_tool_call_and_no_decided_approval(
    runs: Runs,
) -> None:
    call = {"type": "tool-place", "input": {"city": "Rome"}}
    decided = {"state": "approval-responded", "approval": {"id": "a", "approved": True}}
    parts = [
        {**call, "toolCallId": "1", "state": "output-available", "output": "Rome"},
        {**call, "toolCallId": "2", **decided},
    ]
    await read(await runs.start("a", of("upon"), format="ai-sdk", message_id="m 1"))
    body = await read(continued(await followed(runs), {"role": "assistant", "parts": parts}))
    assert b"tool-approval-request" not in body
    assert body.count(b"tool-input-available") == 1
    assert b'{"type":"tool-input-available","toolCallId":"2"' in body


async def test_parts_of_a_continued_message_follow_directly_after_its_start(runs: Runs) -> None:
    feed = Feed()
    await runs.start("a", feed.source(), format="ai-sdk", message_id="m 1")
    begun = await read_to(continued(await followed(runs), MESSAGE), b"\n\n")
    assert begun.startswith(b'data: {"type":"start","messageId":"m 1"}\n\n')
    assert b'data: {"type":"data-weather"' in begun


async def test_a_comment_before_the_start_of_a_continued_answer_stays_in_place() -> None:
    closed = []

    async def body() -> AsyncGenerator[bytes]:
        try:
            yield b": keep-alive\n\n"
            yield b'data: {"type":"start"}\n\ndata: {"type":"start-step"}\n\n'
        finally:
            closed.append(True)

    parts = [{"type": "data-a", "data": 1}]
    whole = continued(Answer(200, {}, body()), {"role": "assistant", "parts": parts})
    assert await read(whole) == (
        b': keep-alive\n\ndata: {"type":"start"}\n\n'
        b'data: {"type":"data-a","data":1}\n\ndata: {"type":"start-step"}\n\n'
    )
    assert closed
