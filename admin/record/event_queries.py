"""Choose events of the record: by kind, level, route, text and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from admin.model.events import EventList, EventMark

if TYPE_CHECKING:
    from admin.model.events import ConsoleEvent
    from admin.model.kinds import Level
    from admin.record.event_record import EventRecord
    from gateway.telemetry.event_journal import EventKind

USUAL_EVENTS = 100
LARGEST_LIST = 1000  # events of an answer, half a megabyte


MOST_MARKS = 20  # in a chart; more could not be told apart


class EventQuery(NamedTuple):
    """The events that are wanted: of all, those that fulfil each condition."""

    after: int = 0  # a sequence
    kind: EventKind | None = None
    level: Level | None = None
    route: str = ""
    text: str = ""  # in the sentence, in capitals or not
    since: float = 0.0  # epoch seconds; what went on then is among them
    until: float | None = None

    def fits(self, event: ConsoleEvent) -> bool:
        """Return whether an event fulfils the conditions."""
        return (
            self.kind in {None, event.kind}
            and self.level in {None, event.level}
            and (not self.route or self.route == event.route)
            and self.text.lower() in event.sentence.lower()
            and (event.lasts or event.last_at >= self.since)
            and (self.until is None or event.at <= self.until)
        )


def select(record: EventRecord, query: EventQuery, limit: int) -> EventList:
    """Return the newest events of a query, at most `limit`."""
    found = [event for event in record.after(query.after) if query.fits(event)]
    return EventList(tuple(found[-limit:]), record.last, len(found) > limit)


def marks(record: EventRecord, since: float) -> tuple[EventMark, ...]:
    """Return the newest starts, reloads and troubles since a moment, as marks for a chart.

    What needed attention is left out: it is made of the figures that charts show.
    """
    found = [
        EventMark(event.at, event.level, event.sentence, _label(event))
        for event in record.after(0)
        if event.at >= since
        and event.kind != "attention"
        and (event.level != "good" or event.kind == "server")
    ]
    return tuple(found[-MOST_MARKS:])


def _label(event: ConsoleEvent) -> str:
    """Return the name of an event's rule in words: started, reload refused, origin down."""
    name = event.key.partition(" ")[0].removeprefix("server.")
    return name.replace(".", " ").replace("_", " ")
