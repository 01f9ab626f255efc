"""What LangGraph streams, in both of its versions and in any of its modes, as a run."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from headgate.dialects.parts import NotAnItem
from headgate.runs import Step
from headgate.runs.formats import FORMATS
from headgate.runs.langgraph import steps

if TYPE_CHECKING:
    from types import ModuleType

ALL = ["messages", "updates", "values", "custom", "tasks", "checkpoints", "debug"]
SAID = [
    {"type": "text-start", "id": "text-1"},
    {"type": "text-delta", "id": "text-1", "delta": "It is "},
    {"type": "text-delta", "id": "text-1", "delta": "sunny"},
    {"type": "text-end", "id": "text-1"},
]
PROGRESS = {
    "type": "data-progress",
    "transient": True,
    "data": {"type": "progress", "city": "Rome"},
}


@pytest.fixture(scope="module")
def graphs() -> ModuleType:
    return importlib.import_module("tests.client.runs.graph")


async def streamed(graphs: ModuleType, **how: Any) -> list[Any]:
    """Return what the graph streams: with subgraphs, it is a node of another one."""
    graph = graphs.graph(is_nested="subgraphs" in how)
    return [event async for event in graph.astream(graphs.QUESTION, **how)]


def items(format_: str, events: list[Any]) -> list[Any]:
    """Return the items of a run of these events."""
    writer = FORMATS[format_].writer()
    found = [item for event in events for item in writer.items(event)]
    whole: list[Any] = json.loads(json.dumps([*found, *writer.closing()]))
    return whole


HOW = [
    {"stream_mode": "messages"},
    {"stream_mode": ALL},
    {"stream_mode": ALL, "version": "v2"},
    {"stream_mode": "messages", "subgraphs": True, "version": "v2"},
    {"stream_mode": ALL, "subgraphs": True},
]


@pytest.mark.parametrize("how", HOW, ids=str)
async def test_a_langgraph_stream_becomes_a_message_with_the_output_of_its_model(
    graphs: ModuleType, how: dict[str, Any]
) -> None:
    events = await streamed(graphs, **how)
    chunks = items("ai-sdk", events)
    texts = [chunk for chunk in chunks if chunk["type"].startswith("text-")]
    assert [
        {key: chunk[key] for key in chunk if key != "providerMetadata"} for chunk in texts
    ] == SAID
    (call,) = [chunk for chunk in chunks if chunk["type"] == "tool-input-available"]
    assert call["input"] == {"city": "Rome"}
    assert chunks.count(PROGRESS) == (how["stream_mode"] == ALL)
    types = [chunk["type"] for chunk in chunks]
    # Its call of the tool, the tool, and what it says of the answer.
    assert types.count("start-step") == types.count("finish-step") == 3
    assert types.index("tool-input-available") < types.index("finish-step")
    assert items("text", events) == ["It is ", "sunny"]
    assert graphs.SECRET not in json.dumps(chunks)


@pytest.mark.parametrize("mode", ["updates", "values", "tasks", "debug"])
async def test_bare_langgraph_state_is_refused_without_showing_its_values(
    graphs: ModuleType, mode: str
) -> None:
    events = await streamed(graphs, stream_mode=mode)
    with pytest.raises(NotAnItem) as refused:
        items("ai-sdk", events)
    assert graphs.SECRET not in str(refused.value)


@pytest.mark.parametrize("live", [True, False])
async def test_steps_of_an_interrupted_langgraph_equal_its_streamed_chunks(
    graphs: ModuleType, live: bool
) -> None:
    how = {"stream_mode": ["messages", "custom", "updates"], "version": "v2" if live else "v1"}
    types, told = Counter[str](), list[Any]()
    decided = graphs.Command(resume={"decisions": [{"type": "approve"}]})
    streaming, stepping = graphs.graph(asks_first=True), graphs.graph(asks_first=True)
    for given in (graphs.QUESTION, decided):
        thread = {"configurable": {"thread_id": "1"}}
        told = items("ai-sdk", [each async for each in streaming.astream(given, thread, **how)])
        types.update(chunk["type"] for chunk in told)
        parts: list[object] = []
        async for each in steps(stepping, given, thread, live=live):
            parts += each.items if isinstance(each, Step) else [each]
        if live:
            assert items("ai-sdk", parts) == told
        else:
            assert whole(items("ai-sdk", parts)) == whole(told)
    assert types["tool-approval-request"] == types["tool-output-available"] == 1
    assert told[-1]["type"] == "finish-step"
    assert [chunk for chunk in told if chunk["type"].startswith("text-")] == SAID


def whole(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what chunks say, in however many pieces; not what a tool has told meanwhile."""
    said: list[dict[str, Any]] = []
    for chunk in chunks:
        if chunk["type"] == "text-delta" and said[-1]["type"] == "text-delta":
            said[-1] = {**chunk, "delta": said[-1]["delta"] + chunk["delta"]}
        elif not chunk["type"].startswith(("data-", "tool-input-delta")):
            said.append(chunk)
    return said


async def test_custom_data_with_an_id_is_persistent_and_without_one_transient(
    graphs: ModuleType,
) -> None:
    given = {"type": "progress", "id": "p1", "done": 1}
    chunk = {"type": "data-progress", "id": "p1", "data": given}
    assert items("ai-sdk", [("custom", given)]) == [chunk]
    named = {"type": "data-custom", "transient": True, "data": "half"}
    assert items("ai-sdk", [{"type": "custom", "ns": (), "data": "half"}]) == [named]
