"""Events of models' SDKs, recognised by their shape and read as parts of an answer.

No SDK is imported: an event is a dict, or has `model_dump` as those of all of them do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from headgate.runs.adapters.anthropic import Anthropic
from headgate.runs.adapters.langchain import LangChain
from headgate.runs.adapters.openai_chat import OpenAIChat
from headgate.runs.adapters.openai_responses import OpenAIResponses

if TYPE_CHECKING:
    from headgate.runs.adapters.parts import Part


class Adapter(Protocol):
    """Reads the events of one API; it may remember what came before."""

    def takes(self, event: dict[str, Any]) -> bool:
        """Whether this is one of its events."""

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """What the event adds to the answer: often nothing."""


class Adapters:
    """All adapters, for one source."""

    def __init__(self) -> None:
        self._all: tuple[Adapter, ...] = (OpenAIChat(), OpenAIResponses(), Anthropic(), LangChain())

    def parts(self, event: object) -> list[Part] | None:
        """What the event adds; None if it is no event of an SDK."""
        # LangGraph gives a message with its metadata.
        told = event[0] if isinstance(event, list) and event else event
        if not isinstance(told, dict):
            return None
        return next((each.parts(told) for each in self._all if each.takes(told)), None)


def plain(given: object) -> object:
    """What a source gave, with SDK objects in it as dicts."""
    if isinstance(given, dict):
        return {key: plain(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [plain(value) for value in given]
    dump = getattr(given, "model_dump", None)
    return given if dump is None or isinstance(given, type) else dump(mode="json", warnings=False)
