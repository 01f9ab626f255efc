"""Events of LangGraph's `astream()`, in either of its versions and any of its modes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import (
    DYNAMIC,
    ApprovalRequest,
    Data,
    Done,
    ModelCall,
    Source,
    Text,
    ToolInput,
    ToolOutput,
    field,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate.dialects.langchain import LangChain
    from headgate.dialects.parts import Part

KEY = "__interrupt__"
MODES = {"values", "updates", "messages", "custom", "checkpoints", "tasks", "debug"}
ASKING = {"values", "updates"}  # the modes that have the interrupts of a graph


@dataclass(frozen=True, slots=True)
class Streamed:
    """An event of a graph, or of a graph within it that the namespace names."""

    mode: str
    data: Any
    namespace: tuple[Any, ...] | None = None  # None where no graph within is streamed


def streamed(value: Any) -> Streamed | None:  # noqa: ANN401 - of any SDK
    """Return the event of a graph that a source has yielded; None for anything else.

    Version 1 gives the data of a mode, or these after its name and its namespace; version 2 a dict.
    """
    match value:
        case {"type": str(mode), "ns": [*namespace], "data": data} if mode in MODES:
            # Version 1 has interrupts in the state itself.
            interrupts = value.get("interrupts")
            return Streamed(
                mode, {KEY: interrupts} if interrupts else data, tuple(namespace) or None
            )
        case [[*namespace], str(mode), data] if mode in MODES and _is_namespace(namespace):
            return Streamed(mode, data, tuple(namespace))
        case [str(mode), data] if mode in MODES:
            return Streamed(mode, data)
        case [[*namespace], data] if _is_namespace(namespace):
            within = streamed(data)  # of one mode, so that only messages can be known
            return within and replace(within, namespace=tuple(namespace))
        case [message, _] if field(message, "content") is not None:
            return Streamed("messages", value)
        case _:
            return None


def _is_namespace(segments: list[Any]) -> bool:
    return all(isinstance(segment, str) for segment in segments)


class _Interrupts:
    """The calls that a graph asks the user about, found among those that its model has made.

    The value of an interrupt has any shape; one with `action_requests`, as of the middleware for a
    human in the loop, names calls.
    """

    def __init__(self) -> None:
        self._calls: dict[str, tuple[str, list[str]]] = {}  # name and pieces of the input, by id
        self._seen: set[str] = set()  # several modes have the same interrupt

    def see(self, parts: Iterable[Part]) -> None:
        """Remember the calls that the model makes."""
        for part in parts:
            if isinstance(part, ToolInput):
                self._calls.setdefault(part.call_id, (part.name, []))[1].append(part.delta)

    def parts(self, data: object) -> list[Part]:
        """Return what a graph asks by its state, or by an update of it."""
        interrupts = data.get(KEY) if isinstance(data, dict) else None
        return [part for each in interrupts or () for part in self._interrupt(each)]

    def _interrupt(self, interrupt: object) -> list[Part]:
        """Return what an `Interrupt` asks, or a dict that was made of one."""
        value = plain(field(interrupt, "value"))
        actions = value.get("action_requests") if isinstance(value, dict) else None
        parts: list[Part] = []
        for number, action in enumerate(actions if isinstance(actions, list) else ()):
            id_ = f"{field(interrupt, 'id')}-{number}"
            if isinstance(action, dict) and id_ not in self._seen:
                self._seen.add(id_)
                parts += self._action(id_, str(action.get("name")), action.get("args") or {})
        return parts

    def _action(self, id_: str, name: str, args: object) -> list[Part]:
        for call_id, (called, pieces) in reversed(self._calls.items()):
            if called == name and _value("".join(pieces)) == args:
                del self._calls[call_id]  # the user is asked about it
                return [ApprovalRequest(call_id)]
        call = ToolInput(f"interrupt/{id_}", id_, name, json.dumps(args), DYNAMIC)
        return [call, Done(call.id), ApprovalRequest(id_)]


def _value(text: str) -> object:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return None


class LangGraph:
    """The events of one graph: messages, what its nodes give to `get_stream_writer()`, interrupts.

    The state of the graph, its tasks and its checkpoints are the application's own business.
    """

    def __init__(self, messages: LangChain) -> None:
        self._messages = messages
        self._interrupts = _Interrupts()
        self._steps: dict[tuple[str, ...], int] = {}  # by the namespace

    def parts(self, event: Streamed) -> list[Part]:
        """Return what the event adds to the answer."""
        if event.mode == "custom":
            return [_custom(plain(event.data))]
        if event.mode in ASKING:
            return self._interrupts.parts(event.data)
        if event.mode != "messages":
            return []
        message, metadata = plain(event.data[0]), event.data[1]
        if not (isinstance(message, dict) and self._messages.takes(message)):
            return []
        step = metadata.get("langgraph_step")
        if not isinstance(step, int):
            return self._messages.parts(message)
        begins = self._begins(event.namespace or (), step)
        parts = self._messages.message_parts(message)
        self._interrupts.see(parts)
        within = (_within(event.namespace, part) for part in parts)
        return [*([ModelCall()] if begins else ()), *within]

    def _begins(self, namespace: tuple[str, ...], step: int) -> bool:
        """Return whether a step begins: parallel nodes, and graphs within a node, share one."""
        is_first = not self._steps
        last = self._steps.get(namespace)
        self._steps[namespace] = step
        return is_first or (last is not None and last != step)


def _within(namespace: tuple[str, ...] | None, part: Part) -> Part:
    """Return the part with the graph that it comes from."""
    if namespace is None or not isinstance(part, Text | ToolInput | ToolOutput | Source):
        return part
    metadata = (part.metadata or {}).get("langchain", {})
    return replace(part, metadata={"langchain": {**metadata, "namespace": [*namespace]}})


def _custom(data: object) -> Data:
    named: dict[str, object] = data if isinstance(data, dict) else {}
    name, id_ = named.get("type"), named.get("id")
    return Data(
        name if isinstance(name, str) and name else "custom",
        data,
        id_ if isinstance(id_, str) and id_ else None,
    )
