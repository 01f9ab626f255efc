"""The answer of a graph of LangGraph, step by step, from its last checkpoint on.

A source of runs, for `Runs.start` and `Runs.take_over`. LangGraph itself is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from headgate.dialects.langchain import CHUNK
from headgate.dialects.langgraph import KEY
from headgate.runs.stored.progress import Step, Written
from headgate.ui_stream.steps import RESET

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

NO_CHECKPOINT = "none"  # the key of the step in which a run begins whose thread is new
CHECKPOINTS, MESSAGES, UPDATES = "checkpoints", "messages", "updates"
# Updates have what the user is asked by an interrupt.
LIVE = [MESSAGES, "custom", UPDATES, CHECKPOINTS]
WHOLE = [UPDATES, CHECKPOINTS]
TOOL_INPUT = "tool-input-available"
ANSWERING = {"ai", "tool"}  # types of messages that belong to the answer
Config: TypeAlias = Mapping[str, Any]  # names a thread, and maybe one of its checkpoints
Graph: TypeAlias = Any  # a compiled graph with a checkpointer
Message: TypeAlias = Any  # of LangChain


async def steps(
    graph: Graph,
    input: object,  # noqa: A002 - as LangGraph calls it
    config: Config,
    written: Written | None = None,
    *,
    live: bool = True,
    resets: bool = False,
) -> AsyncGenerator[object]:
    """Stream the answer of a graph, and tell each of its checkpoints as a step that is done.

    A step that has a checkpoint is not done again, and none begins before the stream of the run has
    the one before it.

    Args:
        graph: A compiled graph with a checkpointer.
        input: What the graph is asked. The graph gets it once, whoever takes the run over.
        config: Names the thread: `{"configurable": {"thread_id": ...}}`.
        written: What `Runs.take_over` has found in the run; None for a run that begins.
        live: Whether readers get the words of a model as they come. Otherwise they get the messages
            of each step when it is done, and nothing of one that is done anew after a kill.
        resets: Whether a `reset-step` takes back what a killed process has written of a step, when
            that is done anew. For the format `ai-sdk`, and pages of its version 7.

    Yields:
        What a run takes: events of LangGraph, and a `Step` for each checkpoint.
    """
    thread = _WrittenThread(written or Written())
    state = await graph.aget_state(config)
    if thread.is_new:
        yield thread.first_step(state.config)
    missing = await thread.missing_states(graph, config)
    for each in missing:
        yield thread.step(each.config, each.values, each.metadata)
    has_input = _id(state.config) != thread.first
    if has_input and not state.tasks:  # `next` leaves out those whose writes wait for a checkpoint
        return
    if resets and thread.half:
        yield {"type": RESET}
        thread.half = []
    events = graph.astream(
        None if has_input else input,
        config,
        stream_mode=LIVE if live else WHOLE,
        durability="sync",
    )
    async for mode, data in events:
        item = thread.item_of(mode, data)
        if item is not None:
            yield item


class _WrittenThread:
    """The checkpoints and messages of a thread that are in the stream of a run."""

    def __init__(self, written: Written) -> None:
        self.half = [*written.half]
        self._half_text = written.text
        self._format = written.format
        self._done = [*written.steps]
        self._message_ids: set[str] = set()  # ids of messages

    @property
    def is_new(self) -> bool:
        """True if no step is in the stream, not even the one in which the run begins."""
        return not self._done

    @property
    def first(self) -> str:
        """The checkpoint before the graph got the input."""
        return self._done[0]

    def first_step(self, config: Config) -> Step:
        """Return the step in which the run begins."""
        self._done.append(_id(config))
        return Step(self.first)

    def knows(self, config: Config) -> bool:
        """Return whether the stream has the checkpoint."""
        return _id(config) in self._done

    def item_of(self, mode: str, data: Any) -> object:  # noqa: ANN401 - LangGraph's own
        """Return the item of a run for an event; None if there is none."""
        if mode == CHECKPOINTS:
            config = data["config"]
            return (
                None if self.knows(config) else self.step(config, data["values"], data["metadata"])
            )
        if mode == UPDATES and KEY not in data:
            return None
        self.see([data[0]] if mode == MESSAGES else [])
        return mode, data

    async def missing_states(self, graph: Graph, config: Config) -> list[Any]:
        """Return the states that the stream lacks, the oldest first.

        The messages of the newest state that it has are remembered.
        """
        missing: list[Any] = []
        async for state in graph.aget_state_history(config):
            if self.knows(state.config):
                self.see(_messages(state.values))
                break
            missing.insert(0, state)
        return missing

    def see(self, messages: Iterable[Message]) -> None:
        """Remember that the stream has these messages."""
        self._message_ids.update(str(message.id) for message in messages)

    def step(self, config: Config, values: object, metadata: Mapping[str, Any]) -> Step:
        """Return the step of a checkpoint, with those of its messages that the stream lacks."""
        messages = [each for each in _messages(values) if str(each.id) not in self._message_ids]
        self.see(messages)
        key = _id(config)
        self._done.append(key)
        answers = [message for message in messages if message.type in ANSWERING]
        items = [item for each in answers for item in self._items(each, metadata.get("step"))]
        self.half = []
        return Step(key, items=items)

    def _items(self, message: Message, step: object) -> list[object]:
        """Return what a message adds to what is there of it."""
        half, self.half = self.half, []
        is_ai = message.type == "ai"
        if not (half and is_ai and self._format in {"text", "ai-sdk"}):
            return [(MESSAGES, (_chunk(message) if is_ai else message, {"langgraph_step": step}))]
        text = _text(message)
        if not text.startswith(self._half_text):
            self.half = half  # that of another message
            return [(MESSAGES, (_chunk(message), {"langgraph_step": step}))]
        rest: list[object] = [text.removeprefix(self._half_text)]
        if self._format == "ai-sdk":
            known = {item.get("toolCallId") for item in half if item.get("type") == TOOL_INPUT}
            rest += [_call(call) for call in _calls(message) if call["id"] not in known]
        return rest


def _id(config: Config) -> str:
    return config["configurable"].get("checkpoint_id") or NO_CHECKPOINT


def _messages(values: object) -> list[Message]:
    """Return the messages in the state of a graph, whatever its fields are."""
    fields = values.values() if isinstance(values, dict) else ()
    lists = [field for field in fields if isinstance(field, list)]
    return [each for field in lists for each in field if hasattr(each, "content")]


def _text(message: Message) -> str:
    """Return the text of a message, which may stand in blocks."""
    if isinstance(message.content, str):
        return message.content
    blocks = [{"text": each} if isinstance(each, str) else each for each in message.content]
    return "".join(block.get("text", "") for block in blocks)


def _chunk(message: Message) -> dict[str, Any]:
    """Return a message as the one chunk in which a model would have said it."""
    calls = [
        {
            "type": "tool_call_chunk",
            "index": index,
            "id": call["id"],
            "name": call["name"],
            "args": msgspec.json.encode(call["args"]).decode(),
        }
        for index, call in enumerate(_calls(message))
    ]
    fields = {"type": CHUNK, "tool_call_chunks": calls, "chunk_position": "last"}
    return {**message.model_dump(mode="json"), **fields}


def _calls(message: Message) -> list[dict[str, Any]]:
    return getattr(message, "tool_calls", [])


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chunk of a UI message for a call of a tool."""
    about = {"toolCallId": call["id"], "toolName": call["name"], "dynamic": True}
    return {"type": TOOL_INPUT, **about, "input": call["args"]}
