"""The facts of a response, which travel with it: nothing searches its header lines for them."""

from __future__ import annotations

import msgspec


class Facts(msgspec.Struct, frozen=True, gc=False):
    """The facts that a response tells, as values: to count it, add to it, or replace it.

    `next_offset` is "" if it says nothing of a stream. It `is_end` if it only says that its stream
    is closed; None if an empty body would make it that, and the body still comes. `again_s` is its
    Retry-After.
    """

    next_offset: str = ""
    closed: bool = False
    is_end: bool | None = False
    again_s: int | None = None
    has_cors: bool = False  # lines of its own on the pages that may read it: then none are added


NO_FACTS = Facts()
