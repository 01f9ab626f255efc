"""The collection of the events of all processes in the record of this gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_admin.answers import prompt_answers
from headgate_admin.record.event_record import EventRecord
from headgate_gateway.features.questions.contract import TakeEvents
from headgate_gateway.telemetry.event_journal import JOURNAL, JournalEvent, ProcessEvents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_admin.alerting.findings import IncidentFinding
    from headgate_admin.record.event_record import ConsoleEvent
    from headgate_gateway.features.questions.process_source import ProcessSource


class EventCollector:
    """The collector of one gateway; `record` has what it has collected."""

    def __init__(self, source: ProcessSource) -> None:
        self._source = source
        self._after: dict[str, int] = {}
        self._findings: dict[str, IncidentFinding] = {}
        self.record = EventRecord()
        self._newest = 0  # the sequence of the last event of `new`

    async def look(self) -> None:
        """Take what has happened since the last look."""
        self.take_own()
        answers = await prompt_answers(self._source, TakeEvents(dict(self._after)))
        found = [answer for answer in answers if isinstance(answer, ProcessEvents)]
        self._take(*found)
        # A worker that has ended is not asked again.
        known = {JOURNAL.process, *(answer.process for answer in found)}
        if found:
            self._after = {name: last for name, last in self._after.items() if name in known}

    def take_own(self) -> None:
        """Take the events of this process."""
        self._take(JOURNAL.events_after(self._after.get(JOURNAL.process, 0)))

    def new(self) -> list[ConsoleEvent]:
        """Return the events that were recorded or have changed since the last call."""
        found = self.record.after(self._newest)
        self._newest = found[-1].sequence if found else self._newest
        return found

    def note_findings(self, now: float, findings: Sequence[IncidentFinding]) -> None:
        """Record which findings have begun, and which are over.

        Health checks are left out: what they find has log lines, which are events of their own.
        """
        over = [it for it in findings if it.ended_at is not None]
        present = {it.id: it for it in findings if it.key[0] != "check" and it not in over}
        known = {key: it.level for key, it in self._findings.items()}
        began = [it for key, it in present.items() if known.get(key) != it.level]
        ended = [it for key, it in self._findings.items() if key not in present]
        self._findings = present
        self.record.add(_of_finding(it, now) for it in began)
        for it in (*over, *ended):
            self.record.end(_of_finding(it, it.ended_at or now), it.past)

    def _take(self, *answers: ProcessEvents) -> None:
        """Record these events, all together: one process may end what another has begun."""
        for answer in answers:
            if answer.events:
                self._after[answer.process] = answer.events[-1].sequence
        self.record.add(event for answer in answers for event in answer.events)


def _of_finding(item: IncidentFinding, now: float) -> JournalEvent:
    cause = item.key[0] if item.about.cause is None else item.about.cause.code
    return JournalEvent(
        sequence=0,
        cause=cause,
        subject=item.about.subject,
        ends="",
        kind="attention",
        level=item.level,
        sentence=item.sentence,
        route=item.route,
        at=min(item.since or now, now),
        last_at=now,
        ended_at=item.ended_at,
        lasts=True,
    )
