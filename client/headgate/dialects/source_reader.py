"""The events of a source, recognised by their shape and read as parts of an answer.

No SDK is imported: an event is a dict, or has `model_dump` as those of all of them do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.dialects.langchain import LangChain
from headgate.dialects.langgraph import LangGraph, streamed
from headgate.dialects.parts import plain
from headgate.dialects.registry import dialects

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
        event = plain(_chunk(value))
        if not isinstance(event, dict):
            return None, event
        return next((it.parts(event) for it in self._readers if it.takes(event)), None), event


def _chunk(value: object) -> object:
    """Return the chunk in an event of OpenAI's helper, and any other value unchanged.

    The rest of such an event is ignored: it repeats the whole answer so far.
    """
    if isinstance(value, dict):
        type_, chunk = value.get("type"), value.get("chunk")
    else:
        type_, chunk = getattr(value, "type", None), getattr(value, "chunk", None)
    return value if type_ != "chunk" or chunk is None else chunk
