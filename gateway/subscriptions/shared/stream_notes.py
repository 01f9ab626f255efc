"""Notes of the streams that a gateway has changed, as it reports them to the one that delivers."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class WriteReport(msgspec.Struct, frozen=True, array_like=True):
    """The outcome of writes to a stream of another server, as their answers told it.

    Without a `tail` none was told, and the outcome of one of them `is_unsure`. A stream that was
    created has the new number `created`, and the `beginning` from which its data count.
    """

    tail: str = ""
    closed: bool = False
    created: int | None = None
    beginning: str = ""
    is_deleted: bool = False
    is_unsure: bool = False


# Of a log of our own, which the gateway that delivers reads itself, only whether it is new.
StreamNote: TypeAlias = bool | WriteReport


def merged(earlier: StreamNote | None, later: StreamNote) -> StreamNote:
    """Return one note of what was noted of a stream at two times."""
    if isinstance(earlier, WriteReport) and isinstance(later, WriteReport):
        return _merged_writes(earlier, later)
    return later if not earlier or isinstance(later, WriteReport) else earlier


def _merged_writes(earlier: WriteReport, later: WriteReport) -> WriteReport:
    if later.is_deleted or later.created is not None:
        return later  # what was before is over
    return WriteReport(
        max(earlier.tail, later.tail),
        earlier.closed or later.closed,
        earlier.created,
        earlier.beginning,
        earlier.is_deleted,
        earlier.is_unsure or later.is_unsure,
    )
