"""Plain values of a source's items: without the SDK's types and without unset fields."""

from __future__ import annotations

from typing import Any


def plain(source_value: object) -> object:
    """Return what a source gave, with SDK objects in it as dicts."""
    if isinstance(source_value, dict):
        return {key: plain(value) for key, value in source_value.items()}
    if isinstance(source_value, list | tuple):
        return [plain(value) for value in source_value]
    dump = getattr(source_value, "model_dump", None)
    return (
        source_value
        if dump is None or isinstance(source_value, type)
        else dump(mode="json", warnings=False)
    )


def known(**fields: object) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None}
