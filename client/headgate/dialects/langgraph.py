"""Events of LangGraph's `astream()`, in either of its versions and any of its modes.

Version 1 gives the data of a mode alone, or in a tuple behind its name and its namespace where
there may be several; version 2 gives a dict in each case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeGuard

from headgate.dialects.interrupts import KEY, Interrupts
from headgate.dialects.parts import (
    Data,
    ModelCall,
    Source,
    Text,
    ToolInput,
    ToolOutput,
    plain,
)

if TYPE_CHECKING:
    from headgate.dialects.langchain import LangChain
    from headgate.dialects.parts import Part

MODES = {"values", "updates", "messages", "custom", "checkpoints", "tasks", "debug"}
ASKING = {"values", "updates"}  # where a graph tells that it is interrupted
SEQUENCES = (list, tuple)


@dataclass(frozen=True, slots=True)
class Streamed:
    """An event of a graph, or of a graph within it that the namespace names."""

    mode: str
    data: Any
    namespace: tuple[str, ...] | None = None  # none where no graph within is streamed


def streamed(value: object) -> Streamed | None:
    """Return the event that a graph has given; None for anything else."""
    if isinstance(value, dict):
        return _of_version_2(value)
    if not isinstance(value, SEQUENCES):
        return None
    if len(value) == 3 and _is_namespace(value[0]) and _is_mode(value[1]):
        return Streamed(value[1], value[2], tuple(value[0]))
    if len(value) == 2:
        return _pair(*value)
    return None


def _of_version_2(value: dict[Any, Any]) -> Streamed | None:
    if _is_mode(value.get("type")) and "ns" in value and "data" in value:
        # Version 1 tells interrupts in the state itself.
        interrupts = value.get("interrupts")
        data = {KEY: interrupts} if interrupts else value["data"]
        return Streamed(value["type"], data, tuple(value["ns"]) or None)
    return None


def _pair(first: object, data: object) -> Streamed | None:
    if isinstance(first, str):
        return Streamed(first, data) if first in MODES else None
    if _is_namespace(first):
        within = streamed(data)  # of one mode, so that only messages can be known
        return within and Streamed(within.mode, within.data, tuple(first))
    return Streamed("messages", (first, data)) if _is_message(first) else None


def _is_mode(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value in MODES


def _is_namespace(value: object) -> TypeGuard[list[str] | tuple[str, ...]]:
    return isinstance(value, SEQUENCES) and all(isinstance(segment, str) for segment in value)


def _is_message(value: object) -> bool:
    return "content" in value if isinstance(value, dict) else hasattr(value, "content")


class LangGraph:
    """The events of one graph: messages, what its nodes give to `get_stream_writer()`, interrupts.

    The state of the graph, its tasks and its checkpoints are the application's own business.
    """

    def __init__(self, messages: LangChain) -> None:
        self._messages = messages
        self._interrupts = Interrupts()
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
        parts = self._messages.said(message)
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
