"""A run that has ended, as its span tells of it."""

from __future__ import annotations

from typing import NamedTuple


class EndedRun(NamedTuple):
    """A run of a stream: `first_item_s` after its beginning came the first of its `items`."""

    route: str
    stream: str
    status: str
    items: int
    first_item_s: float | None
    lasted_s: float
