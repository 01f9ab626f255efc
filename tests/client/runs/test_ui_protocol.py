"""Chunks of a source's own, as the AI SDK's clients check and read them."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from headgate.ui_stream.protocol import fault
from tests.client.runs.chunk_fuzz import SHORT, Case, complaints, play
from tests.client.runs.sources import of, read
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from headgate.runs import Runs

METADATA = {"providerMetadata": {"openai": {"itemId": "1"}}}
CALL = {"toolCallId": "call_1", "toolName": "weather"}
TOOL = {"providerExecuted": True, "dynamic": True, "toolMetadata": {"a": 1}, **METADATA}
WHOLE: list[dict[str, Any]] = [
    *({"type": f"{kind}-start", "id": "1", **METADATA} for kind in ("text", "reasoning")),
    *({"type": f"{kind}-delta", "id": "1", "delta": "a"} for kind in ("text", "reasoning")),
    *({"type": f"{kind}-end", "id": "1", **METADATA} for kind in ("text", "reasoning")),
    {"type": "tool-input-start", **CALL, **TOOL, "title": "T", "inputEncoding": "json"},
    {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": "{"},
    {"type": "tool-input-available", **CALL, **TOOL, "title": "T", "input": {}},
    {"type": "tool-input-error", **CALL, **TOOL, "input": "{", "errorText": "no JSON"},
    {"type": "tool-approval-request", "toolCallId": "call_1", "approvalId": "1", "signature": "s"},
    {"type": "tool-output-available", **CALL, **TOOL, "output": {}, "preliminary": True},
    {"type": "tool-output-error", **CALL, **TOOL, "errorText": "no"},
    {"type": "tool-output-denied", "toolCallId": "call_1"},
    {"type": "source-url", "sourceId": "1", "url": "https://a", "title": "A", **METADATA},
    {"type": "source-document", "sourceId": "1", "mediaType": "a/b", "title": "A", "filename": "a"},
    *({"type": type_, "url": "a", "mediaType": "a/b"} for type_ in ("file", "reasoning-file")),
    {"type": "custom", "kind": "a.b", **METADATA},
    {"type": "data-weather", "id": "1", "data": {"a": 1}, "transient": True},
    {"type": "data-", "data": None},
    *({"type": type_} for type_ in ("start-step", "finish-step", "reset-step")),
    {"type": "start", "messageId": "1", "messageMetadata": {}},
    {"type": "finish", "finishReason": "length", "messageMetadata": {}},
    {"type": "abort", "reason": "stopped"},
    {"type": "error", "errorText": "no"},
    {"type": "message-metadata", "messageMetadata": {"a": 1}},
    {"type": "values", "ns": [], "data": {}},
    {"type": "content.delta", "delta": "a"},
]
OTHERS: list[object] = [None, 1, "x", True, [], {}]
UNTYPED = {"input", "output", "data", "messageMetadata"}


def changed(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chunk, and ones in which a single field is missing or is something else."""
    names = chunk.keys() - {"type"} - UNTYPED
    missing = [{key: chunk[key] for key in chunk if key != name} for name in names]
    return [chunk, *missing, *({**chunk, name: other} for name in names for other in OTHERS)]


@pytest.mark.usefixtures("processes")
def test_the_ai_sdk_clients_accept_exactly_the_chunks_that_runs_accept() -> None:
    chunks = [each for chunk in WHOLE for each in changed(chunk)]
    done = subprocess.run(
        [NODE, ROOT / "tests/node/ui_protocol.mjs"],
        input=json.dumps(chunks),
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    taken = [any(versions) for versions in json.loads(done.stdout)]
    assert [(chunk, fault(chunk) is None) for chunk in chunks] == [*zip(chunks, taken, strict=True)]
    assert taken.count(True) > 100
    assert taken.count(False) > 100


STEP = [{"type": "text-start", "id": "1"}, {"type": "finish-step"}]
ENDED_TEXT = {"type": "text-delta", "id": "1", "delta": "a"}


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([{"type": "values", "secret": 1}], "UI messages have no chunks of the type 'values'"),
        ([{"type": "text-delta", "id": "1"}], "the type 'text-delta' is none of a UI message: "),
        ([{"type": "finish", "finishReason": 1}], "Expected `str`, got `int` - at `$.finishReason"),
        pytest.param(
            [{"type": "text-start", "id": "\ud800"}], "surrogates not allowed", id="surrogate"
        ),
        pytest.param([*STEP, ENDED_TEXT], "no text with the id '1' is open for", id="ended-text"),
        ([{"type": "reasoning-end", "id": "1"}], "no reasoning with the id '1' is open for"),
    ],
)
async def test_an_invalid_chunk_fails_the_run_with_its_type_but_not_its_values(
    runs: Runs, chunks: list[dict[str, Any]], error: str
) -> None:
    body = await read(await runs.start("a", of("Once", *chunks), format="ai-sdk"))
    assert b"secret" not in body
    assert body.endswith(b"data: [DONE]\n\n")
    state = await runs.state("a")
    assert state is not None
    assert state.status == "failed"
    assert error in str(state.error)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)  # Headgate and Node start
async def test_chats_and_reloaded_pages_have_what_the_ai_sdk_makes_of_random_chunks() -> None:
    assert await play(range(SHORT)) == []
    # A message that is not of these chunks, and a chunk that the SDK refuses, would be found.
    start, unknown = (f'data: {{"type":"{type_}","messageId":"m"}}\n\n' for type_ in ("start", "x"))
    message = {"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "forged"}]}
    for body, kept in ((start, message), (start + unknown, None)):
        assert await complaints([Case(1, body, None, kept)]), body
