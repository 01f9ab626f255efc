"""What graphs of LangGraph and a chat model of LangChain have streamed."""

from __future__ import annotations

from typing import Any

from tests.client.runs.graph import QUESTION, Model, graph
from tests.client.runs.recordings import Case

BOTH: dict[str, Any] = {"stream_mode": ["values", "messages"]}
WITHIN: dict[str, Any] = {"subgraphs": True}
SECOND: dict[str, Any] = {"version": "v2"}
LAST = [{"content": "It is "}, {"content": "sunny."}]
CITATION = {
    "type": "citation",
    "url": "https://example.com/rome",
    "title": "Rome",
    "start_index": 0,
    "end_index": 5,
    "cited_text": "It is sunny in Rome",
}
DOCUMENT = {"type": "citation", "title": "rome.txt", "cited_text": "sunny"}


def _call(index: int, args: str, id_: str | None = None, name: str = "weather") -> dict[str, Any]:
    named = {"id": id_, "name": None if id_ is None else name}
    call = {"type": "tool_call_chunk", "index": index, "args": args, **named}
    return {"content": "", "tool_call_chunks": [call]}


def _block(type_: str, field: str, text: str, index: int, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": type_, field: text, "index": index, **more}]}


SCRIPTS = {
    "text": [LAST],
    "text-and-calls-at-once": [
        [
            {"content": "I look."},
            _call(0, "", "call_1"),
            _call(0, '{"city":'),
            _call(1, '{"city":"Oslo"}', "call_2"),
            _call(0, '"Rome"}'),
        ],
        LAST,
    ],
    "tool-that-fails": [[_call(0, '{"city":"Rome"}', "call_1", "broken")], LAST],
    "reasoning": [
        [
            _block("reasoning", "reasoning", "Hm. ", 0),
            _block("reasoning", "reasoning", "So.", 0),
            _block("text", "text", "It is ", 1),
            _block("text", "text", "sunny.", 1),
        ]
    ],
    "blocks-of-text": [[_block("text", "text", "It is ", 0), _block("text", "text", "sunny.", 1)]],
    "citations": [
        [
            _block("text", "text", "It is sunny.", 0),
            _block("text", "text", "", 0, annotations=[CITATION, DOCUMENT]),
            _block("text", "text", " Really.", 1, annotations=[CITATION]),
        ]
    ],
}
# By how they are streamed, in either version of LangGraph's events.
WAYS: dict[str, dict[str, Any]] = {
    "": BOTH,
    "-messages-alone": {"stream_mode": "messages"},
    "-version-2": {**BOTH, **SECOND},
    "-within": {**BOTH, **WITHIN},
    "-within-version-2": {**BOTH, **WITHIN, **SECOND},
}


async def cases() -> list[Case]:
    """Stream each script once, and one of them in each way."""
    made = [await _case(name, BOTH) for name in SCRIPTS]
    made += [
        await _case("text-and-calls-at-once", how, way)
        for way, how in WAYS.items()
        if how is not BOTH
    ]
    made += [
        await _case("text-and-calls-at-once", how, f"-asks-first{way}", asks_first=True)
        for way, how in {"": BOTH, "-version-2": {**BOTH, **SECOND}}.items()
    ]
    model = Model(script=SCRIPTS["reasoning"])
    chunks = [chunk async for chunk in model.astream("Tell.")]
    told = [event async for event in model.astream_events("Tell.", version="v2")]
    return [
        *made,
        Case("langchain--reasoning", "langchain", events=chunks),
        Case("langchain--events", "langchain", events=told),
    ]


async def _case(name: str, how: dict[str, Any], way: str = "", *, asks_first: bool = False) -> Case:
    runnable = graph(
        Model(script=SCRIPTS[name]), is_nested="subgraphs" in how, asks_first=asks_first
    )
    thread: Any = {"configurable": {"thread_id": "1"}}
    events = [event async for event in runnable.astream(QUESTION, thread, **how)]
    return Case(f"langgraph--{name}{way}", "langgraph", events=events)
