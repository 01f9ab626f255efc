"""Notes of the streams that a gateway has changed, as it reports them to the one that delivers."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class GrowthReport(msgspec.Struct, frozen=True, array_like=True, tag="grown"):
    """The growth of a stream of our own log between two versions, and no other change."""

    stream_id: int
    history: int
    since: int
    version: int
    tail: int


class WriteReport(msgspec.Struct, frozen=True, array_like=True, tag="write"):
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


# A bool says of a stream of our own log, which the gateway that delivers has to read, whether it is
# new.
StreamNote: TypeAlias = bool | GrowthReport | WriteReport


def merge_notes(earlier: StreamNote | None, later: StreamNote) -> StreamNote:
    """Return one note of what was noted of a stream at two times."""
    if isinstance(earlier, WriteReport) and isinstance(later, WriteReport):
        return _merge_writes(earlier, later)
    if isinstance(earlier, GrowthReport) and isinstance(later, GrowthReport):
        return _merge_growth(earlier, later)
    if earlier is None or isinstance(later, WriteReport):
        return later
    return earlier is True or later is True


def _merge_growth(earlier: GrowthReport, later: GrowthReport) -> StreamNote:
    """Return the growth from the first version to the last, or False if anything is between."""
    is_same = (earlier.stream_id, earlier.history) == (later.stream_id, later.history)
    if not is_same or later.since > earlier.version or earlier.since > later.version:
        return False
    last = max(earlier, later, key=lambda note: note.version)
    since = min(earlier.since, later.since)
    return GrowthReport(last.stream_id, last.history, since, last.version, last.tail)


def _merge_writes(earlier: WriteReport, later: WriteReport) -> WriteReport:
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
