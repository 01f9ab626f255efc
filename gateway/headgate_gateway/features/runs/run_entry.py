"""A run as this process sees its stream being written, commit by commit.

A run is a stream whose first message is a record of `headgate.records`; that module says what such
records are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from headgate import records
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.appends import AppendOutcome
from headgate_gateway.protocol.bodies.content import json_messages

_first_value = json.JSONDecoder().raw_decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate.records import RunRecord, RunState
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.protocol.streams.state import Change

# Bytes that are parsed, in 0.2 ms, to find a record of the library; only steps may be longer.
LONGEST_RECORD = 32 << 10
# Of the records of one commit, that are parsed: a client may write their mark in any message.
MOST_PARSED = 8
# How the library's records begin. Marks and steps may be behind items, and a step may be long.
_RECORD = b'{"type":"%b"' % records.MARK


@dataclass(slots=True, eq=False)
class StoredItems:
    """The items of a run as the log has them, read when a page of runs was requested."""

    reported: int | None = None  # in all, by the record of the end
    counted: int = 0  # from the beginning up to the position `counted_to`
    counted_to: int = 0


@dataclass(slots=True, eq=False, kw_only=True)
class RunEntry:
    """Counts one run. Moments are of perf_counter; `wall_s` more is epoch seconds.

    `is_whole` says that its stream was created here, in this process. What is counted is what was
    committed here: other gateways and workers count the rest.
    """

    path: str
    stream_id: int
    created_at: int | None
    wall_s: float
    started_at: float
    is_whole: bool
    items: int = 0
    size: int = 0  # bytes of the stream that were committed here
    first_at: float | None = None  # when the first item came that the source gave
    first_items: int = 0  # how many there were then
    last_at: float | None = None
    end: RunState | None = None
    ended_at: float | None = None
    # As the log has it, read when a page of runs was requested.
    is_run: bool = False
    stored: StoredItems = field(default_factory=StoredItems)

    def wall(self, moment: float | None) -> float | None:
        """Return a moment as epoch seconds."""
        return None if moment is None else moment + self.wall_s

    @property
    def seconds_per_item(self) -> float | None:
        """The mean time from one item to the next after the first; None where only one came."""
        later = self.items - self.first_items
        if self.first_at is None or self.last_at is None or later <= 0:
            return None
        return (self.last_at - self.first_at) / later


class CommitSummary(NamedTuple):
    """The summary of one commit: its items, whether it starts the run, and how the run ended."""

    items: int
    starts_run: bool
    end: RunState | None


def summarise(change: Change, outcomes: Sequence[AppendOutcome | HeadgateError]) -> CommitSummary:
    """Summarise a commit. Items beside the record of the end do not count."""
    items, parsed, starts_run, end = 0, 0, False, None
    for outcome in outcomes:
        if isinstance(outcome, AppendOutcome):
            items += outcome.stored
    for record in change.records:
        if records.MARK in record.data and parsed < MOST_PARSED:
            parsed += 1
            found = contents_of(record.data)
            starts_run = starts_run or any(one.status == "active" for one in found.run_records)
            end = found.end or end
            items -= found.messages - found.items
            if len(record.data) > LONGEST_RECORD:
                items -= record.data.count(b"," + _RECORD)
    return CommitSummary(max(items, 0), starts_run, end)


class RecordContents(NamedTuple):
    """The content of a record: its messages, and the items among them.

    `run_records` is in the other messages.
    """

    messages: int
    items: int
    run_records: list[RunRecord]
    end: RunState | None


def contents_of(data: bytes) -> RecordContents:
    """Return what a record tells; of a long one, what its first message does.

    The library's records of a beginning and of an end are in short appends, or first in theirs.
    """
    if len(data) <= LONGEST_RECORD:
        return whole_contents_of(data)
    try:
        _, end = _first_value(data[:LONGEST_RECORD].decode("latin-1"))  # a character for each byte
    except ValueError:  # it is longer itself: an item, or a step with what it came to
        return RecordContents(1, 0 if data.startswith(_RECORD) else 1, [], None)
    return _summary_of([data[:end]])


def whole_contents_of(data: bytes) -> RecordContents:
    """Return the contents of a record of a JSON stream: messages joined by commas."""
    try:
        return _summary_of(json_messages(b"[%b]" % data))
    except BadRequest:  # a log of another program's
        return RecordContents(0, 0, [], None)


def _summary_of(messages: Sequence[bytes]) -> RecordContents:
    items, run_records = 0, []
    for message in messages:
        record = records.parse_record(message)
        if record is None:
            items += 1
            continue
        run_records.append(record)
        if record.end is not None:
            return RecordContents(len(messages), items, run_records, record.end)
    return RecordContents(len(messages), items, run_records, None)
