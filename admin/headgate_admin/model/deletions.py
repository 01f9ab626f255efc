"""Deletions of many streams: what is asked for, and what has become of it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

# A deletion is counting, then counted until it is confirmed, running, or in one of the others.
DeletionState = Literal["counting", "counted", "running", "done", "stopped", "failed"]
Text = Annotated[str, msgspec.Meta(max_length=2048)]
HeaderValue = Annotated[str, msgspec.Meta(max_length=8192, pattern=r"^(?![\s\S]*[\x00-\x1f\x7f])")]


class DeletionWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The streams of a route to count: those whose names, as in URLs, begin with `prefix`.

    `contains` and `glob` are conditions as of a search. They are about the names below the path
    `base`, which is by default the route.
    """

    route: str
    prefix: Text
    contains: Text = ""
    glob: Text = ""
    base: Text = ""


class DeletionStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The confirmation of a counted deletion: its number of streams.

    `authorization` is for an origin that decides who may delete: the gateway has none for it.
    """

    id: str
    confirm: int
    authorization: HeaderValue = ""


class DeletionReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deletion by its id; where it may be empty, the one that was counted last."""

    id: str = ""


class Deletion(DeletionWish, frozen=True, kw_only=True):
    """A deletion of many streams. `at` is when it was counted, in epoch seconds.

    `size` in bytes is None where an origin has the streams, of which only known ones are counted.
    With `is_cut` there are more than one deletion takes; those up to a name are counted. `trouble`
    is the last failure, and `status` that of HTTP which it came with.
    """

    id: str
    by: str
    at: float
    state: DeletionState = "counting"
    streams: int = 0
    size: int | None = 0
    sample: tuple[str, ...] = ()  # the first names
    is_cut: bool = False
    deleted: int = 0
    gone: int = 0  # deleted by others, or other streams by then
    failed: int = 0
    trouble: str | None = None
    status: int | None = None
    ended_at: float | None = None

    @property
    def left(self) -> int:
        """The number of streams that were neither deleted nor tried in vain."""
        return self.streams - self.deleted - self.gone - self.failed
