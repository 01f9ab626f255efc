"""Changes between gateways until it is certain that the owner of the subscriptions has them.

A gateway that stood still may take itself for the owner, and a message may be sent to a former
owner. So a change is safe once a later beat confirms that the gateway which took it still owns the
lease. A later owner compares all tails anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.features.beats import BEAT_S
from gateway.features.subscriptions.shared.mail import StreamNote, merge_notes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Notes = dict[str, StreamNote]
RECEIPT_S = 3 * BEAT_S  # within which an owner that runs confirms a report


class SentReport(NamedTuple):
    """A report to an owner, sent at a time of the monotonic clock."""

    owner: str
    sent_at: float
    notes: Notes


class SentReports:
    """The reports of this gateway whose receipts have not come."""

    def __init__(self) -> None:
        self._reports: dict[int, SentReport] = {}
        self._number = 0
        self.streams = 0  # in all of these reports

    def next_number(self) -> int:
        """Return the number of another report."""
        self._number += 1
        return self._number

    def add(self, number: int, report: SentReport) -> None:
        """Wait for the receipt of a report."""
        self._reports[number] = report
        self.streams += len(report.notes)

    def drop(self, numbers: Iterable[int]) -> None:
        """Take the receipts of these reports."""
        for number in numbers:
            if (report := self._reports.pop(number, None)) is not None:
                self.streams -= len(report.notes)

    def take_lost(self, owner: str, now: float) -> list[Notes]:
        """Return what has to be reported again: `owner` is another one, or no receipt has come."""
        lost = [
            number
            for number, report in self._reports.items()
            if report.owner != owner or now - report.sent_at > RECEIPT_S
        ]
        notes = [self._reports[number].notes for number in lost]
        self.drop(lost)
        return notes

    def clear(self) -> None:
        """Wait for no receipt: all streams are compared."""
        self.drop(list(self._reports))


class TakenChanges:
    """The changes that this gateway has taken as the owner, since it was last confirmed as that.

    If more than `most` streams change here within one beat, only that is noted, and all streams
    are compared.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.are_too_many = False
        self._own: Notes = {}  # those that were made here, since the beat began
        self._own_before: Notes = {}
        self._reports: dict[str, list[int]] = {}  # numbers by sender, since the beat began
        self._reports_before: dict[str, list[int]] = {}

    def add_own(self, path: str, note: StreamNote) -> None:
        """Note a change that was made here."""
        if path in self._own:
            self._own[path] = merge_notes(self._own[path], note)
        elif len(self._own) < self._most:
            self._own[path] = note
        else:
            self.are_too_many = True

    def add_report(self, sender: str, number: int) -> None:
        """Note a report of another gateway."""
        self._reports.setdefault(sender, []).append(number)

    def begin_beat(self) -> None:
        """Note that a beat begins, which confirms all that was taken until now, or nothing."""
        self._own_before = merged(self._own_before, self._own)
        self._own = {}
        for sender, numbers in self._reports.items():
            self._reports_before.setdefault(sender, []).extend(numbers)
        self._reports = {}

    def confirm(self) -> Mapping[str, list[int]]:
        """Return the reports, by sender, whose receipts may be sent: the beat has confirmed all."""
        self._own_before, self.are_too_many = {}, bool(self._own) and self.are_too_many
        reports, self._reports_before = self._reports_before, {}
        return reports

    def take_lost(self) -> Notes:
        """Return the changes to report to another owner; senders repeat their reports."""
        notes = merged(self._own_before, self._own)
        self._own, self._own_before, self.are_too_many = {}, {}, False
        self._reports, self._reports_before = {}, {}
        return notes


def merged(earlier: Notes, later: Notes) -> Notes:
    """Return the notes of two times together."""
    if not earlier:
        return later
    for path, note in later.items():
        earlier[path] = merge_notes(earlier.get(path), note)
    return earlier
