"""Where a client wants to go on, as its request tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# More items than any run has; what is longer only costs time to read.
MOST_DIGITS = 15


def cursor(query: Mapping[str, str], headers: Mapping[str, str]) -> int | None:
    """How many items the client has; None if it tells none, ValueError if it is no number.

    A page says `after`, and `WorkflowChatTransport` says `startIndex`. The `Last-Event-ID` of a
    browser's `EventSource` goes before either: it is sent with the URL that the reading began at.
    """
    told = headers.get("Last-Event-ID") or query.get("after") or query.get("startIndex")
    if told is None:
        return None
    digits = told.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS):
        raise ValueError("after, startIndex and Last-Event-ID are whole numbers")
    return int(told)
