"""Events of models' SDKs, recognised by their shape and read as parts of an answer.

No SDK is imported: an event is a dict, or has `model_dump` as those of all of them do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from headgate.runs.adapters.anthropic import Anthropic
from headgate.runs.adapters.langchain import LangChain
from headgate.runs.adapters.langgraph import LangGraph, streamed
from headgate.runs.adapters.openai_chat import OpenAIChat
from headgate.runs.adapters.openai_helper import OpenAIHelper
from headgate.runs.adapters.openai_responses import OpenAIResponses
from headgate.runs.adapters.plain import plain

if TYPE_CHECKING:
    from headgate.runs.adapters.parts import Part


class Adapter(Protocol):
    """Reads the events of one API; it may remember what came before."""

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether this adapter reads the event."""

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return the parts that the event adds to the answer: often none."""


class Adapters:
    """The adapters of one source, one for each SDK."""

    def __init__(self) -> None:
        messages = LangChain()
        self._graph = LangGraph(messages)
        self._helper = OpenAIHelper()
        self._all: tuple[Adapter, ...] = (
            OpenAIChat(),
            OpenAIResponses(),
            Anthropic(),
            messages,
            self._helper,
        )

    def read(self, value: object) -> tuple[list[Part] | None, object]:
        """Return what an event adds to the answer; None and the plain value if it is none."""
        graph_event = streamed(value)
        if graph_event is not None:
            return self._graph.parts(graph_event), None
        event = plain(self._helper.chunk(value))
        if not isinstance(event, dict):
            return None, event
        return next((each.parts(event) for each in self._all if each.takes(event)), None), event
