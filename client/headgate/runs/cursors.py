"""The position that a client's request asks to resume from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from headgate.names import BEGINNING, NOW

# More items than any run has; what is longer only costs time to read.
MOST_DIGITS = 15
# Servers should keep offsets shorter. These characters stand in any URL and event as they are.
_OFFSET = r"[A-Za-z0-9_~.-]{1,256}"
_CURSOR = re.compile(rf"([0-9]{{1,{MOST_DIGITS}}})\.([0-9]{{1,{MOST_DIGITS}}})\.({_OFFSET})")
_FITTING = re.compile(_OFFSET)
_NO_PLACE = {BEGINNING, NOW}  # offsets that are not a place after an item


class Fields(Protocol):
    """Query parameters or header fields, as any framework has them."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a field; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a long run, which `cursor` reads from a request.

    Attributes:
        count: Number of items before the place.
        skip: Number of those that are after `offset`.
        offset: An offset of the run's stream, from which the place is found.
    """

    count: int
    skip: int
    offset: str


def fits(offset: str) -> bool:
    """Return whether the id of an event can hold an offset as it is."""
    return _FITTING.fullmatch(offset) is not None


def cursor(query: Fields, headers: Fields) -> int | Cursor | None:
    """Return how many items the client has, or which place it was told last; None if it says none.

    A page says `after`, and `WorkflowChatTransport` says `startIndex`. The `Last-Event-ID` of a
    browser's `EventSource` goes before either: it is sent with the URL that the reading began at.
    The value -1 of this field is the beginning, as for a stream: such a client has no event yet.

    Args:
        query: The query parameters of the request.
        headers: The header fields of the request.

    Raises:
        ValueError: A value is neither a whole number nor the id of an event.
    """
    last = headers.get("Last-Event-ID")
    if last == BEGINNING:
        return 0
    value = last or query.get("after") or query.get("startIndex")
    if value is None:
        return None
    digits = value.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS:
        return int(value)
    found = _CURSOR.fullmatch(value)
    if found is None or found[3] in _NO_PLACE or int(found[2]) > int(found[1]):
        raise ValueError("after, startIndex and Last-Event-ID are whole numbers, or ids of events")
    return Cursor(int(found[1]), int(found[2]), found[3])
