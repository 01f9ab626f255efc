"""The streams that the gateways of a log change: each reports its own, and the owner takes them.

The owner reads the present state of a reported stream, so reports may come in any order and more
than once. A gateway that stood still may take itself for the owner, and a
message may be sent to a former owner. So a change is safe once a later beat confirms that the
gateway which took it still owns the lease, and a report that no owner has confirmed is repeated. A
killed gateway may have reported less than it has changed, and messages may be lost with a
connection: so all streams are compared in the background, at once when either is noticed.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from gateway.background import Background
from gateway.errors import LogUnavailable
from gateway.features.beats import BEAT_S
from gateway.features.subscriptions.shared import mail
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from gateway.features.subscriptions.shared.lease import WorkSharing
    from gateway.features.subscriptions.shared.owned import OwnedLoader
    from gateway.protocol.streams.state import Change


Notes = dict[str, bool]  # the streams that have changed, and whether each is new
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

    def add_own(self, path: str, *, is_new: bool) -> None:
        """Note a change that was made here."""
        if path in self._own or len(self._own) < self._most:
            self._own[path] = is_new or self._own.get(path, False)
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
    for path, is_new in later.items():
        earlier[path] = is_new or earlier.get(path, False)
    return earlier


AT_ONCE = 500  # streams that are reported in one message, or read together
MOST_WAITING = 100_000  # streams that wait to be reported: beyond it, all are compared
# Between two reports of a busy gateway: what changes meanwhile shares the cost of the second, and a
# wake may be late by as much. With 5 ms, an append cost 4 % more.
GATHER_S = 0.02
RETRY_S = 0.1  # while no owner listens, or the log cannot be reached
COMPARE_S = 60.0  # between two comparisons, if there is no reason for one


class ReportedChanges(Background):
    """The streams that changed, until they are reported to the owner, or read by it."""

    def __init__(
        self,
        sharing: WorkSharing,
        loader: OwnedLoader,
        schedule_comparison: Callable[[], None],
        most: int = MOST_WAITING,
    ) -> None:
        """Call `schedule_comparison` where the owner itself has forgotten what changed.

        Of `most` streams each is reported; beyond that, all streams are compared.
        """
        self.is_active = False  # there are subscriptions
        self.overflows = 0  # times that more have changed
        self._most = most
        self._schedule_comparison = schedule_comparison
        self._sharing = sharing
        self._loader = loader
        self._lease = loader.lease
        self._paths: Notes = {}
        self._compare = False
        self._wakened = asyncio.Event()
        self.sent = SentReports()
        self._taken = TakenChanges(most)

    @property
    def are_settled(self) -> bool:
        """True if nothing waits."""
        return not self._paths and not self._wakened.is_set()

    def on_commit(self, change: Change, is_certain: bool) -> None:
        """Take a change that this gateway has committed, or may have."""
        if not self.is_active:
            return
        engine, path, is_new = self._loader.engine, change.state.path, change.expected is None
        if is_certain and engine is not None and engine.take_commit(change):
            self._taken.add_own(path, is_new=is_new)
        else:
            self.note(path, is_new=is_new)

    def note(self, path: str, *, is_new: bool) -> None:
        """Take a stream that has changed."""
        if path not in self._paths and len(self._paths) + self.sent.streams >= self._most:
            self.overflows += 1
            self._paths.clear()
            self.sent.clear()
            self._compare = True
        self._paths[path] = is_new or self._paths.get(path, False)
        self._wakened.set()

    def add(self, changed: mail.ChangeReport) -> None:
        """Take the streams that another gateway has reported."""
        engine = self._loader.engine if self._lease.is_certain else None
        for path, is_new in changed.paths.items():
            if engine is None or engine.concerns(path):
                self.note(path, is_new=is_new)
        self._taken.add_report(changed.sender, changed.number)

    def compare(self) -> None:
        """Have all streams compared: what has changed here is not known."""
        self._compare = True
        self._wakened.set()

    # Until it is certain that the owner has the changes

    def begin_beat(self) -> None:
        """Note that a beat begins, by which the owner is confirmed or is another gateway."""
        self._taken.begin_beat()

    async def end_beat(self, *, is_confirmed: bool) -> None:
        """Send receipts if the owner here is confirmed, and repeat reports that no owner has taken.

        Raises LogUnavailable: what is not received is repeated.
        """
        if not is_confirmed:
            if self._taken.are_too_many:
                self.compare()
            self._note_all(self._taken.take_lost())
        for lost in self.sent.take_lost(self._lease.other_owner, monotonic()):
            self._note_all(lost)
        for sender, numbers in self._taken.confirm().items():
            await self._sharing.mailboxes.send(sender, mail.encode(mail.ReportResponse(numbers)))

    def _note_all(self, notes: Notes) -> None:
        for path, is_new in notes.items():
            self.note(path, is_new=is_new)

    @override
    async def _run(self) -> None:
        while True:
            await self._wakened.wait()
            try:
                is_done = await self._work()
            except LogUnavailable:
                is_done = False
            except Exception:  # noqa: BLE001 - the task must outlive any error
                log.exception("subscription.changes_not_reported")
                is_done = False
            await asyncio.sleep(self._pause_s() if is_done else RETRY_S)

    def _pause_s(self) -> float:
        """Return how long changes are gathered: not at all where a whole message of them waits."""
        return 0.0 if len(self._paths) >= AT_ONCE else GATHER_S

    async def flush(self) -> None:
        """Report what waits, as far as the log can be reached at once."""
        while self._paths and self._loader.engine is None:
            try:
                if not await self._work():
                    return
            except LogUnavailable:
                return

    async def _work(self) -> bool:
        """Report some streams, or read them; return whether that was possible."""
        if self._compare and not await self._ask_to_compare():
            return False
        names = list(self._paths)[:AT_ONCE]
        if not names:
            self._wakened.clear()
            return True
        batch = {name: self._paths.pop(name) for name in names}
        done: Collection[str] = ()
        try:
            done = await self._pass_on(batch)
        finally:
            self._note_all({path: it for path, it in batch.items() if path not in done})
        return len(done) == len(batch)

    async def _pass_on(self, batch: Notes) -> Collection[str]:
        """Return the paths that were taken here, or reported to the owner."""
        engine = self._loader.engine
        if engine is None:
            return batch.keys() if await self._report(batch) else ()
        if not self._lease.is_certain:
            return ()  # another gateway may be the owner by now
        taken = await engine.apply_notes(batch)
        if self._loader.engine is not engine:
            return ()
        for path in taken:
            self._taken.add_own(path, is_new=batch[path])
        return taken

    async def _report(self, batch: Notes) -> bool:
        """Report streams to the owner; return whether a gateway received it."""
        number, owner = self.sent.next_number(), self._lease.other_owner
        report = mail.ChangeReport(batch, number, self._lease.name)
        self.sent.add(number, SentReport(owner, monotonic(), batch))
        is_heard = False
        try:
            is_heard = await self._send(report)
        finally:
            if not is_heard:
                self.sent.drop([number])
        return is_heard

    async def _ask_to_compare(self) -> bool:
        if self._loader.engine is not None:
            self._schedule_comparison()
        elif not await self._send(mail.ComparisonRequest()):
            return False
        self._compare = False
        return True

    async def _send(self, message: mail.Mail) -> bool:
        owner = self._lease.other_owner
        return bool(owner) and await self._sharing.mailboxes.send(owner, mail.encode(message))


class TailComparisons(Background):
    """Comparisons of all streams with what the owner knows of them."""

    def __init__(self, loader: OwnedLoader, changed: ReportedChanges) -> None:
        self._loader = loader
        self._changed = changed
        self.made = 0  # comparisons, from the beginning to the end
        self._reason = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None

    def schedule(self, after_s: float = 0.0) -> None:
        """Compare soon."""
        if not after_s:
            self._reason.set()
            return
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(after_s, self._reason.set)

    @override
    async def stop(self) -> None:
        if self._later is not None:
            self._later.cancel()
        await super().stop()

    @override
    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(COMPARE_S):
                    await self._reason.wait()
            except TimeoutError:
                pass
            self._reason.clear()
            try:
                await self._compare()
            except LogUnavailable:
                self._reason.set()
                await asyncio.sleep(RETRY_S)
            except Exception:  # noqa: BLE001 - the task must outlive any error
                log.exception("subscription.streams_not_compared")

    async def _compare(self) -> None:
        engine = self._loader.engine
        if engine is None or not engine.by_id:
            return
        async for path, is_new in engine.changed_streams():
            self._changed.note(path, is_new=is_new)
        self.made += 1
