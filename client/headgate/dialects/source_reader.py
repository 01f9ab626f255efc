"""The events of a source, recognised by their shape without any SDK, as parts of an answer."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import TYPE_CHECKING

from headgate.dialects import openai_agents, pydantic_ai
from headgate.dialects.contract import dialects
from headgate.dialects.langchain import LangChain
from headgate.dialects.langgraph import LangGraph, streamed
from headgate.dialects.parts import field, plain

if TYPE_CHECKING:
    from headgate.dialects.contract import Reader
    from headgate.dialects.parts import Part


def plain_values(value: object) -> list[object]:
    """Return a value of a source as JSON: an event as a whole, but for what is private."""
    if not _may_be_of_agent(value):
        return [plain(value)]
    if pydantic_ai.is_private(value):
        return []
    for made in (openai_agents.plain_event(value), pydantic_ai.plain_event(value)):
        if made is not None:
            return [made]
    return [plain(value)]


class SourceReader:
    """The reader of one source, whatever SDK gives its events."""

    def __init__(self) -> None:
        messages = LangChain()
        self._graph = LangGraph(messages)
        made = (dialect.reader() for dialect in dialects() if dialect.reader is not None)
        self._readers: list[Reader] = [*made, messages]
        # Of frameworks whose events are objects that are not plain.
        self._agents = (openai_agents.OpenAIAgents(), pydantic_ai.PydanticAI())

    def read(self, value: object) -> tuple[list[Part] | None, object]:
        """Return what an event adds to the answer; None and the plain value if it is none."""
        graph_event = streamed(value)
        if graph_event is not None:
            return self._graph.parts(graph_event), None
        if _may_be_of_agent(value):
            for agent in self._agents:
                if agent.takes(value):
                    return agent.parts(value), None
            if field(value, "type") == openai_agents.RAW:
                value = field(value, "data")
        # The rest of such an event of OpenAI's helper repeats the whole answer so far.
        is_chunk = field(value, "type") == "chunk" and field(value, "chunk") is not None
        event = plain(field(value, "chunk") if is_chunk else value)
        if not isinstance(event, dict):
            return None, event
        return next((it.parts(event) for it in self._readers if it.takes(event)), None), event


def _may_be_of_agent(value: object) -> bool:
    """Return whether a value may be an event of a framework: to look closer costs microseconds.

    Their events are dataclasses. Those of models are dicts, or models of Pydantic.
    """
    if isinstance(value, dict):
        return pydantic_ai.KIND in value or value.get("type") in openai_agents.TYPES
    return not hasattr(value, "model_dump") and is_dataclass(value)
