"""Plain values of a source's items: without the SDK's types and without unset fields."""

from __future__ import annotations

from typing import Any


def plain(given: object) -> object:
    """Return what a source gave, with SDK objects in it as dicts."""
    if isinstance(given, dict):
        return {key: plain(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [plain(value) for value in given]
    dump = getattr(given, "model_dump", None)
    return given if dump is None or isinstance(given, type) else dump(mode="json", warnings=False)


def known(**fields: object) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None}
