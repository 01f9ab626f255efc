"""What every API's events come down to: calls of the model, and pieces of what it says in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call of the model begins: what it says, and what tools answer to it, belongs to this call.

    An adapter gives one before the first part of each call, and none within a call.
    """


@dataclass(frozen=True, slots=True)
class Text:
    """More text of the part `id`; `kind` is `text` or `reasoning`."""

    id: str
    delta: str
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class ToolInput:
    """More of the JSON that a tool is called with; the first piece of a call has its name."""

    id: str
    call_id: str
    name: str
    delta: str


@dataclass(frozen=True, slots=True)
class Done:
    """The part `id` is complete, or all whose ids begin with `id` and a slash."""

    id: str


Part: TypeAlias = ModelCall | Text | ToolInput | Done


class ModelFailed(Exception):
    """The model, or the service that runs it, told of an error in its stream."""
