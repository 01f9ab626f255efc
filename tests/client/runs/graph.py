"""A graph of LangGraph with a model that calls a tool, alone or within another, and its answers.

To import it takes seconds: a test does so when it runs, not while tests are collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel, agenerate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt
from pydantic import Field

from tests.client.runs.recordings import Case

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["QUESTION", "SECRET", "Command", "Model", "StreamingModel", "graph"]
SECRET = "what the state of the graph holds"
QUESTION = {"messages": [("system", SECRET), ("user", "Is it sunny in Rome?")]}


@tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    get_stream_writer()({"type": "progress", "city": city})
    return "sun"


@tool
def broken(city: str) -> str:
    """Fail."""
    raise ValueError(f"no weather in {city}")


class StreamingModel(BaseChatModel):
    """Answers with what its subclass streams."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, *args: object, **kwargs: object) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self, messages: list[BaseMessage], *args: object, **kwargs: object
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages))


class Model(StreamingModel):
    """Calls the tool, and then says what it has answered; or says the pieces of a script.

    The script has the pieces of each message, of which it says the one behind the last answers.
    """

    script: list[list[dict[str, Any]]] = Field(default_factory=list)

    async def _astream(
        self, messages: list[BaseMessage], *args: object, **kwargs: object
    ) -> AsyncIterator[ChatGenerationChunk]:
        if self.script:
            number = sum(message.type == "ai" for message in messages)
            for piece in self.script[number]:
                yield ChatGenerationChunk(message=AIMessageChunk(**piece))
            return
        pieces: list[dict[str, Any]] = [{"content": "It is "}, {"content": "sunny"}]
        if messages[-1].type != "tool":
            first = {"name": "weather", "id": "call_1", "args": '{"city":'}
            rest = {"name": None, "id": None, "args": '"Rome"}'}
            calls = [{"type": "tool_call_chunk", "index": 0, **call} for call in (first, rest)]
            pieces = [{"content": "", "tool_call_chunks": [call]} for call in calls]
        for piece in pieces:
            yield ChatGenerationChunk(message=AIMessageChunk(**piece))


def ask(state: MessagesState) -> None:
    """Have the user asked about the calls of the model, as the middleware of LangChain does."""
    calls = state["messages"][-1].tool_calls  # type: ignore[union-attr]
    actions = [{"name": call["name"], "args": call["args"]} for call in calls]
    if actions:
        interrupt({"action_requests": actions, "review_configs": []})


def graph(
    model: BaseChatModel | None = None,
    saver: Any = None,
    *,
    is_nested: bool = False,
    asks_first: bool = False,
) -> Any:
    """Return the graph, or one that has it as a node; one that asks saves its checkpoints."""
    model = model or Model()

    async def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    inner = StateGraph(MessagesState)
    inner.add_node("agent", agent)
    inner.add_node("tools", ToolNode([weather, broken], handle_tool_errors=True))
    inner.add_edge(START, "agent")
    if asks_first:
        inner.add_node("ask", ask)
        inner.add_edge("agent", "ask")
    inner.add_conditional_edges("ask" if asks_first else "agent", tools_condition)
    inner.add_edge("tools", "agent")
    compiled = inner.compile(checkpointer=InMemorySaver() if asks_first else saver)
    if not is_nested:
        return compiled
    outer = StateGraph(MessagesState)
    outer.add_node("inner", compiled)
    outer.add_edge(START, "inner")
    return outer.compile()


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
