"""A fold of an operator's own, for events that no dialect here has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.errors import StartError
from gateway.protocol.bodies.deltas import Delta, find_delta
from gateway.settings.reading.imports import import_function
from gateway.telemetry.rare_lines import RareLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.protocol.bodies.deltas import FindDelta


def delta_finder(path: str) -> FindDelta:
    """Return the function that finds deltas, with an operator's own at `path`. Raises StartError.

    Without a path it knows the dialects here.
    """
    if not path:
        return find_delta
    try:
        return with_own(import_function(path))
    except ValueError as error:
        raise StartError(f"fold = {path} {error}") from None


def with_own(own: Callable[[dict[str, Any]], Any]) -> FindDelta:
    """Return a function that asks `own` about an event first, and then knows the dialects here.

    `own` gets an event, and returns the path to its text with the names of the fields that may
    differ, or None. When it fails, the event stands alone.
    """
    failures = RareLine("fold.failed")

    def find(event: dict[str, Any]) -> Delta | None:
        try:
            found = own(event)
            if found is not None:
                path, free = found
                return _checked(tuple(path), tuple(free))
        except Exception as error:  # noqa: BLE001 - whatever the operator's function does
            failures.note(reason=f"{type(error).__name__}: {error}"[:200].rstrip())
            return None
        return find_delta(event)

    return find


def _checked(path: tuple[Any, ...], free: tuple[Any, ...]) -> Delta:
    if not path or not all(isinstance(step, str | int) for step in path):
        raise TypeError("the path to the text must be names and indices")
    if not all(isinstance(name, str) for name in free):
        raise TypeError("the free fields must be names")
    return Delta(path, free)
