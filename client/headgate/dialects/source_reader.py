"""The events of a source, recognised by their shape without any SDK, as parts of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.dialects import openai_agents, pydantic_ai
from headgate.dialects.contract import dialects
from headgate.dialects.langchain import LangChain
from headgate.dialects.langgraph import LangGraph, streamed
from headgate.dialects.parts import field, plain

if TYPE_CHECKING:
    from headgate.dialects.contract import Reader
    from headgate.dialects.parts import Part


# Where an event has another one, by its type. The rest of a chunk of OpenAI's helper repeats the
# whole answer so far.
WRAPPED = {"chunk": "chunk", openai_agents.RAW: "data"}


def plain_values(value: object) -> list[object]:
    """Return a value of a source as JSON: an event as a whole, but for what is private."""
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
        for agent in self._agents:
            if agent.takes(value):
                return agent.parts(value), None
        inner = WRAPPED.get(type_) if isinstance(type_ := field(value, "type"), str) else None
        within = None if inner is None else field(value, inner)
        event = plain(value if within is None else within)
        if not isinstance(event, dict):
            return None, event
        return next((it.parts(event) for it in self._readers if it.takes(event)), None), event
