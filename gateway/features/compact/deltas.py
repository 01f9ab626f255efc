"""Deltas of answers: which events add text to a part, and where that text is.

The dialects of models name their own events; those of the UI message stream of the AI SDK and of
AG-UI, which views and applications write, stand here.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from headgate.dialects.contract import Delta
from headgate.dialects.registry import dialects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.dialects.contract import Find

_TIMED = Delta(("delta",), ("timestamp",))
_PLACES = {
    # UI messages of the AI SDK
    "text-delta": Delta(("delta",)),
    "reasoning-delta": Delta(("delta",)),
    "tool-input-delta": Delta(("inputTextDelta",)),
    # AG-UI
    "TEXT_MESSAGE_CONTENT": _TIMED,
    "TOOL_CALL_ARGS": _TIMED,
    "REASONING_MESSAGE_CONTENT": _TIMED,
    "THINKING_TEXT_MESSAGE_CONTENT": _TIMED,
}


@cache
def _finders() -> Mapping[str, Find]:
    return {type_: find for dialect in dialects() for type_, find in dialect.deltas.items()}


def find_delta(event: dict[str, Any]) -> Delta | None:
    """Return where an event has its text; None for an event that stands alone.

    An event with usage, log probabilities, a signature or an unknown type stands alone.
    """
    kind = event.get("type") or event.get("event_type") or event.get("object")
    if not isinstance(kind, str):
        return None
    find = _finders().get(kind)
    if find is not None:
        return find(event)
    return None if event.get("logprobs") else _PLACES.get(kind)
