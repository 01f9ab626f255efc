"""The common parts of every API's events: model calls, their content and their ends."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from headgate.dialects.progress import Usage

# What one provider alone understands, under its name; its next request needs some of it again.
Metadata: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call of the model begins: what it says, and what tools answer to it, belongs to this call.

    An adapter gives one before the first part of each call, and none within a call.
    """


@dataclass(frozen=True, slots=True)
class Text:
    """More text of the part `id`; `kind` is `text` or `reasoning`.

    An empty `delta` begins the part, or changes its metadata.
    """

    id: str
    delta: str
    kind: str = "text"
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ToolTraits:
    """Says what is special about a tool, beside its name."""

    is_executed: bool = False  # the provider calls it itself, so nobody else shall
    is_dynamic: bool = False  # its name is no type that the page knows
    is_text: bool = False  # its input is text, and no JSON


FUNCTION = ToolTraits()
DYNAMIC = ToolTraits(is_dynamic=True)  # which tools a graph has, no page has types for
# The provider's own tools, whose inputs and outputs are passed on as the provider has them.
EXECUTED = ToolTraits(is_executed=True, is_dynamic=True)
FREE = ToolTraits(is_text=True)


@dataclass(frozen=True, slots=True)
class ToolInput:
    """More of what a tool is called with; the first piece of a call has its name."""

    id: str
    call_id: str
    name: str
    delta: str
    traits: ToolTraits = FUNCTION
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """The user is asked whether the tool shall be called; the answer comes with another request."""

    call_id: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """The call `call_id` is answered with `output`, or has failed for the reason `error`."""

    call_id: str
    output: object
    error: str | None = None
    traits: ToolTraits = FUNCTION
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ToolDenied:
    """The user has refused that the tool is called."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Source:
    """A page or a document that the answer is based on, with the provider's words as metadata."""

    title: str | None
    url: str | None = None  # none: a document
    media_type: str = "text/plain"  # of a document
    file_name: str | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """The application tells something beside the answer; a page keeps it if it has an id."""

    name: str
    data: object
    id: str | None = None
    is_kept: bool = False  # also without an id


@dataclass(frozen=True, slots=True)
class Done:
    """The part `id` is complete, or all whose ids begin with `id` and a slash."""

    id: str
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ModelEnded:
    """A call of the model is over.

    `reason` is one of the AI SDK's: stop, length, content-filter, tool-calls, error, other. Either
    may come first, so that what is None another of them says.
    """

    reason: str | None = None
    usage: Usage | None = None


_REASONS = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "pause_turn", "completed"), "stop"),
    **dict.fromkeys(
        ("tool_calls", "tool_call", "function_call", "tool_use", "requires_action"), "tool-calls"
    ),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "incomplete"), "length"),
    **dict.fromkeys(("model_context_window_exceeded", "budget_exceeded"), "length"),
    **dict.fromkeys(("content_filter", "refusal"), "content-filter"),
}


def known_reason(word: object) -> str:
    """Return the AI SDK's reason for a provider's word for why the model has stopped."""
    return _REASONS.get(str(word).lower(), "other")


Whole: TypeAlias = ApprovalRequest | ToolOutput | ToolDenied | Source | Data | ModelEnded
Part: TypeAlias = ModelCall | Text | ToolInput | Done | Whole


class ModelFailed(Exception):
    """An error that the model, or the service that runs it, has reported in its stream."""

    def __init__(self, error: object) -> None:
        """Take the message of an error object, or an error that is a sentence itself."""
        message = error.get("message") if isinstance(error, dict) else error
        is_sentence = isinstance(message, str) and bool(message)
        super().__init__(message if is_sentence else "the provider reported an error")


class NotAnItem(ValueError):
    """A source's value that does not fit the format of its run."""


def described(value: object) -> str:
    """Describe a source's value for an error message."""
    return "None" if value is None else f"this {type(value).__name__}"


SCALARS = frozenset((str, int, float, bool, type(None)))


def plain(source_value: object) -> object:
    """Return a source's value with the objects in it as dicts.

    The fields have the names that they have in JSON. Those that are None stay: only the caller may
    know which of them can be left out. Private fields are left out.
    """
    # Most values are scalars, and to find out anything else takes longer.
    if type(source_value) in SCALARS or isinstance(source_value, type):
        return source_value
    if isinstance(source_value, dict):
        return {key: plain(value) for key, value in source_value.items()}
    if isinstance(source_value, list | tuple):
        return [plain(value) for value in source_value]
    dump = getattr(source_value, "model_dump", None)
    if dump is not None:
        whole: object = dump(mode="json", by_alias=True, warnings=False)
        return whole
    if is_dataclass(source_value):
        names = (each.name for each in fields(source_value) if not each.name.startswith("_"))
        return {name: plain(getattr(source_value, name)) for name in names}
    return source_value


def field(source_value: object, name: str) -> Any:  # noqa: ANN401 - of any SDK
    """Return a field of a dict, or of an SDK's object; None if it is missing."""
    if isinstance(source_value, dict):
        return source_value.get(name)
    return getattr(source_value, name, None)


def known(**fields: object) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None}
