"""What a commit brings of a run: items, the records of the library among them, and bounds."""

from __future__ import annotations

import msgspec
import pytest

from headgate import records
from headgate.records import RunState
from headgate_gateway.features.runs.run_entry import (
    LONGEST_RECORD,
    MOST_PARSED,
    CommitSummary,
    contents_of,
    summarise,
)
from headgate_gateway.protocol.appends import AppendOutcome
from headgate_gateway.protocol.streams.state import Change, StreamState, records_after

STATE = StreamState("r", 1, 1, "application/json")
FINISHED = RunState("finished")


def of(*appended: bytes, stored: int) -> CommitSummary:
    change = Change(STATE, 1, tuple(records_after(0, appended)))
    return summarise(change, [AppendOutcome("1", False, stored)])


def test_items_of_a_run_are_counted_without_its_own_records() -> None:
    assert of(b'{"n":1},{"n":2}', b'{"n":3}', stored=3) == CommitSummary(3, False, None)
    assert of(records.claim() + b',{"type":"start"}', stored=2) == CommitSummary(1, True, None)
    assert of(b"1", records.step("1", msgspec.Raw(b"1")), b"2", stored=3) == CommitSummary(
        2, False, None
    )
    failed = RunState("failed", "no more")
    last = b"1," + records.end(failed) + b',{"type":"finish"}'
    assert of(last, stored=3) == CommitSummary(1, False, failed)


def test_run_records_behind_items_are_not_counted_in_a_long_append() -> None:
    item = b'"' + b"x" * LONGEST_RECORD + b'"'
    step = records.step("1", msgspec.Raw(item))
    long = b",".join([item, records.claim(), item, step])
    assert of(long, stored=4) == CommitSummary(2, False, None)
    assert of(step, stored=1) == CommitSummary(0, False, None)


def test_an_item_that_only_mentions_a_run_record_is_counted_as_an_item() -> None:
    assert of(b'"about data-headgate-run"', stored=1) == CommitSummary(1, False, None)


def test_an_append_that_was_not_stored_brings_no_item() -> None:
    assert of(stored=0) == CommitSummary(0, False, None)


def padded(size: int) -> bytes:
    """A message and the record of an end, of so many bytes together."""
    end = records.end(FINISHED)
    return b'"' + b"x" * (size - len(end) - 3) + b'",' + end


@pytest.mark.parametrize(
    ("size", "end"),
    [pytest.param(LONGEST_RECORD, FINISHED, id="at-the-limit"), (LONGEST_RECORD + 1, None)],
)
def test_the_end_record_of_a_run_is_found_up_to_a_length(size: int, end: RunState | None) -> None:
    assert len(padded(size)) == size
    assert contents_of(padded(size)).end == end
    assert of(padded(size), stored=2).end == end


def test_only_the_first_message_of_a_long_record_is_inspected() -> None:
    long = b'"' + b"\\u00e9x" * LONGEST_RECORD + b'"'
    failed = RunState("failed", "caf\u00e9 is closed")
    assert of(records.end(failed) + b"," + long, stored=2).end == failed
    assert contents_of(long + b"," + records.end(FINISHED)) == (1, 1, [], None)
    assert contents_of("\u00e9".encode() * LONGEST_RECORD) == (1, 1, [], None)


@pytest.mark.parametrize(
    ("before", "end"),
    [pytest.param(MOST_PARSED - 1, FINISHED, id="at-the-limit"), (MOST_PARSED, None)],
)
def test_a_bounded_number_of_messages_of_a_commit_is_searched_for_run_records(
    before: int, end: RunState | None
) -> None:
    mentions = [b'"data-headgate-run"'] * before
    assert of(*mentions, records.end(FINISHED), stored=before + 1).end == end
