"""The events of a source, recognised by their shape without any SDK, as parts of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.dialects.contract import dialects
from headgate.dialects.langchain import LangChain
from headgate.dialects.langgraph import LangGraph, streamed
from headgate.dialects.parts import field, plain

if TYPE_CHECKING:
    from headgate.dialects.contract import Reader
    from headgate.dialects.parts import Part


class SourceReader:
    """The reader of one source, whatever SDK gives its events."""

    def __init__(self) -> None:
        messages = LangChain()
        self._graph = LangGraph(messages)
        made = (dialect.reader() for dialect in dialects() if dialect.reader is not None)
        self._readers: list[Reader] = [*made, messages]

    def read(self, value: object) -> tuple[list[Part] | None, object]:
        """Return what an event adds to the answer; None and the plain value if it is none."""
        graph_event = streamed(value)
        if graph_event is not None:
            return self._graph.parts(graph_event), None
        # The rest of such an event of OpenAI's helper repeats the whole answer so far.
        is_chunk = field(value, "type") == "chunk" and field(value, "chunk") is not None
        event = plain(field(value, "chunk") if is_chunk else value)
        if not isinstance(event, dict):
            return None, event
        return next((it.parts(event) for it in self._readers if it.takes(event)), None), event
