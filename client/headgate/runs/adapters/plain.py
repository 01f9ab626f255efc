"""What a source gives, without the types of its SDK."""

from __future__ import annotations


def plain(given: object) -> object:
    """Return what a source gave, with SDK objects in it as dicts."""
    if isinstance(given, dict):
        return {key: plain(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [plain(value) for value in given]
    dump = getattr(given, "model_dump", None)
    return given if dump is None or isinstance(given, type) else dump(mode="json", warnings=False)
