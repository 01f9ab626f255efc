"""Choose events of the record: by kind, level, route, text and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from admin.model import EventList

if TYPE_CHECKING:
    from admin.model import ConsoleEvent, Level
    from admin.record.event_record import EventRecord
    from gateway.telemetry.event_journal import EventKind

USUAL_EVENTS = 100
LARGEST_LIST = 1000  # events of an answer, half a megabyte


class EventQuery(NamedTuple):
    """The events that are wanted: of all, those that fulfil each condition."""

    after: int = 0  # a sequence
    kind: EventKind | None = None
    level: Level | None = None
    route: str = ""
    text: str = ""  # in the sentence, in capitals or not
    since: float = 0.0  # epoch seconds; what went on then is among them

    def fits(self, event: ConsoleEvent) -> bool:
        """Return whether an event fulfils the conditions."""
        return (
            self.kind in {None, event.kind}
            and self.level in {None, event.level}
            and (not self.route or self.route == event.route)
            and self.text.lower() in event.sentence.lower()
            and (event.lasts or event.last_at >= self.since)
        )


def select(record: EventRecord, query: EventQuery, limit: int) -> EventList:
    """Return the newest events of a query, at most `limit`."""
    found = [event for event in record.after(query.after) if query.fits(event)]
    return EventList(tuple(found[-limit:]), record.last, len(found) > limit)
