"""Calls of tools that a graph of LangGraph has the user asked about before it goes on.

A graph interrupts itself with a value of any shape. One with `action_requests`, as the middleware
for a human in the loop has it, names the calls; what others mean is the application's own business.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import DYNAMIC, ApprovalRequest, Done, ToolInput, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate.dialects.parts import Part

KEY = "__interrupt__"


class Interrupts:
    """Finds the calls that a graph asks about among those that its model has made."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[str, list[str]]] = {}  # name and pieces of the input, by id
        self._told: set[str] = set()  # several modes tell of one interrupt
        self._call_ids: set[str] = set()  # ids of calls

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
        about = interrupt if isinstance(interrupt, dict) else {}
        value = plain(about.get("value", getattr(interrupt, "value", None)))
        actions = value.get("action_requests") if isinstance(value, dict) else None
        if not isinstance(actions, list):
            return []
        interrupt_id = about.get("id", getattr(interrupt, "id", None))
        return [
            part
            for number, action in enumerate(actions)
            if isinstance(action, dict)
            for part in self._action(f"{interrupt_id}-{number}", action)
        ]

    def _action(self, own_id: str, action: dict[str, Any]) -> list[Part]:
        if own_id in self._told:
            return []
        self._told.add(own_id)
        name, args = str(action.get("name")), action.get("args") or {}
        call_id = self._found(name, args)
        if call_id is not None:
            self._call_ids.add(call_id)
            return [ApprovalRequest(call_id)]
        call = ToolInput(f"interrupt/{own_id}", own_id, name, json.dumps(args), DYNAMIC)
        return [call, Done(call.id), ApprovalRequest(own_id)]

    def _found(self, name: str, args: object) -> str | None:
        """Return the id of the last such call that the user is not asked about yet."""
        for call_id, (called, pieces) in reversed(self._calls.items()):
            is_asked = call_id in self._call_ids
            if not is_asked and called == name and _value("".join(pieces)) == args:
                return call_id
        return None


def _value(text: str) -> object:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return None
