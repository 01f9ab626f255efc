"""A fold as an operator writes one, and what may be wrong with it."""

from __future__ import annotations

from typing import Any

NO_FUNCTION = "find_delta"


def find_delta(event: dict[str, Any]) -> tuple[object, ...] | None:
    """Return where the text of an event of this application is."""
    return (("body", "words"), ("at",)) if event.get("kind") == "words" else None


def fail(event: dict[str, Any]) -> None:
    """Raise for every event."""
    raise RuntimeError(f"no such event: {len(event)} fields")


def answer_nonsense(_event: dict[str, Any]) -> object:
    """Return what is no place of a text."""
    return ("body", {"words": 1})
