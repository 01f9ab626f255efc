"""The ids of parametrized tests: words that a list of failures is read by."""

from __future__ import annotations

from enum import Enum

LONGEST = 60  # characters; a longer value is not read in a list of failures
MOST_ITEMS = 4  # a longer list is not read either


def row_id(value: object, name: str) -> str | None:
    """Return the id of a value of the parameter `name`, or None for the value as pytest shows it.

    Every process has to give it the same id: no address, and no order of a set, may be in it.

    Raises:
        ValueError: If no reader would know the row by the value: it has to be given an id.
    """
    if isinstance(value, bool | int | float | None):
        return f"{name}={value}"
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, str | bytes):
        shown = value if isinstance(value, str) else value.decode("latin-1")
        if not shown:
            return f"empty-{name}"
        is_plain = shown.isprintable() and (isinstance(value, str) or shown.isascii())
        return None if is_plain and len(shown) <= LONGEST else _refused(value, name)
    if getattr(value, "__name__", "<lambda>") != "<lambda>":
        return None
    shown = repr(value) if _is_plain(value) else ""
    return shown if 0 < len(shown) <= LONGEST and "\\" not in shown else _refused(value, name)


def _is_plain(value: object) -> bool:
    """Return whether a value is a short container of texts and numbers."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return len(value) <= MOST_ITEMS and all(_is_plain(each) for each in value)
    return isinstance(value, str | bytes | int | float | None)


def _refused(value: object, name: str) -> str:
    shown = repr(value)[:LONGEST]
    msg = f"{name} is {shown}: name the condition of its row, pytest.param(..., id='a-long-body')"
    raise ValueError(msg)
