"""The events of a gateway and of those it shares a log with: what happened, when, for how long."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec.structs import replace

from headgate_admin.model.overview import EventMark
from headgate_gateway.settings.reading.units import HOUR_S
from headgate_gateway.telemetry.event_journal import EventKind, EventLevel, in_past, is_about

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from headgate_gateway.telemetry.event_journal import JournalEvent

# Days of a gateway in trouble; the fields of an event are bounded, so some megabytes at most.
MOST_EVENTS = 2_000
AGAIN_S = 60.0  # a repetition within this time is the same event, with a count
MOST_OF_A_NAME = 100  # events of one name in AGAIN_S; further ones are one event with a count
# Reports are five seconds apart, and clocks that differ by less than 12 s are taken for the same.
NEAR_S = 20.0
MOST_SHARED = 32  # of the newest own ones, some 16 KiB beside the figures of this gateway
# The others look every five seconds; older events would be stored in Redis again and again.
SHARED_FOR_S = 300.0
OTHERS = "(and others of the kind)"
USUAL_EVENTS = 100
LARGEST_LIST = 1000  # events of an answer, half a megabyte
MOST_MARKS = 20  # in a chart; more of them would overlap


class ConsoleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A thing that was found or done, from `at` to `last_at`, `count` times within minutes.

    `cause` is the name of the log line or of the incident, and `subject` what it is about.
    `sequence` grows with each change of an event, whose `id` stays. `lasts` says that it goes on;
    `ended_at` is None for events without a duration, and for those whose end nobody saw.
    """

    sequence: int
    id: int = 0
    kind: EventKind
    subject: str
    cause: str
    level: EventLevel
    sentence: str
    route: str | None = None
    stream: str | None = None  # below the route; with a * at its end, all that begin so
    at: float
    last_at: float
    ended_at: float | None = None
    lasts: bool = False
    count: int = 1
    gateway: str = ""  # the one that shared it; empty for those of this gateway

    @property
    def key(self) -> tuple[str, str]:
        """The cause and subject, equal for the same thing."""
        return self.cause, self.subject

    @property
    def lasted(self) -> float | None:
        """Seconds from its beginning to its end."""
        return None if self.ended_at is None else self.ended_at - self.at


class EventList(msgspec.Struct, frozen=True):
    """Events by their sequence, and the sequence of the newest event that there is."""

    events: tuple[ConsoleEvent, ...]
    last: int
    is_cut: bool = False  # there are more, of which the oldest are left out


class EventQuery(msgspec.Struct, frozen=True):
    """The newest events after a sequence that fulfil the conditions; times in epoch seconds."""

    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    kind: EventKind | None = None
    level: EventLevel | None = None
    route: str = ""
    stream: str = ""  # of the route: what is about it, and about all streams of the route
    text: str = ""  # in the sentence, in capitals or not
    since: float = 0.0  # events that went on at this moment are among them
    until: float | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_LIST)] = USUAL_EVENTS

    def fits(self, event: ConsoleEvent) -> bool:
        """Return whether an event fulfils the conditions."""
        return (
            self.kind in {None, event.kind}
            and self.level in {None, event.level}
            and (self._concerns(event) if self.stream else self.route in {"", event.route})
            and self.text.lower() in event.sentence.lower()
            and (event.lasts or event.last_at >= self.since)
            and (self.until is None or event.at <= self.until)
        )

    def _concerns(self, event: ConsoleEvent) -> bool:
        """Return whether an event is about the stream, or about all of its route."""
        if event.route is None:  # that of an alert, whose sentence names the stream
            return f"{self.route}/{self.stream} " in f"{event.sentence} "
        return event.route == self.route and is_about(event.stream, self.stream)


class EventRecord:
    """The newest events by their sequence, which an event changes with each change."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self._most = most
        self._events: dict[int, ConsoleEvent] = {}  # by id, in the order of their sequences
        self._by_key: dict[tuple[str, str], int] = {}  # by cause and subject
        self._of_peers: dict[tuple[str, int], int] = {}  # by a gateway and the id there
        self._counted: dict[str, tuple[float, int]] = {}  # the names of EVENT_RULES
        self._last = 0

    def after(self, sequence: int) -> list[ConsoleEvent]:
        """Return the events with later sequences, in their order."""
        found = []
        for event in reversed(self._events.values()):
            if event.sequence <= sequence:
                break
            found.append(event)
        return found[::-1]

    def select(self, query: EventQuery) -> EventList:
        """Return the newest events of a query."""
        found = [event for event in self.after(query.after) if query.fits(event)]
        return EventList(tuple(found[-query.limit :]), self._last, len(found) > query.limit)

    def hours(self, query: EventQuery, now: float) -> dict[float, Counter[EventLevel]]:
        """Return how many events of a query began in each hour of the last day, by level."""
        present = now // HOUR_S
        counts: dict[float, Counter[EventLevel]] = {
            (present - ago) * HOUR_S: Counter() for ago in reversed(range(24))
        }
        for event in self._events.values():
            found = counts.get(event.at // HOUR_S * HOUR_S)
            if found is not None and query.fits(event):
                found[event.level] += 1
        return counts

    def marks(self, since: float) -> tuple[EventMark, ...]:
        """Return the newest starts, reloads and troubles since a moment, as marks for a chart.

        What needed attention is left out: it is made of the figures that charts show.
        """
        found = [
            EventMark(event.at, event.level, event.sentence, _label(event))
            for event in self.after(0)
            if event.at >= since
            and event.kind != "attention"
            and (event.level != "good" or event.kind == "server")
        ]
        return tuple(found[-MOST_MARKS:])

    def add(self, occurrences: Iterable[JournalEvent]) -> None:
        """Record what processes have seen."""
        for occurrence in sorted(occurrences, key=lambda it: it.last_at):
            if occurrence.ends:
                self._end((occurrence.ends, occurrence.subject), occurrence.last_at)
            if occurrence.sentence:
                self._begin(occurrence)

    def end(self, seen: JournalEvent, past: str) -> None:
        """Record that what was seen is over, with a sentence in the past tense if there is one.

        When it began and ended counts if both were measured, also after its end is recorded.
        """
        began = None if seen.ended_at is None else seen.at
        self._end((seen.cause, seen.subject), seen.last_at, past, began)

    def shared(self, now: float) -> tuple[ConsoleEvent, ...]:
        """Return the newest events of this gateway in the last minutes, for the others."""
        found: list[ConsoleEvent] = []
        for event in reversed(self._events.values()):
            is_new = event.lasts or now - event.last_at < SHARED_FOR_S
            if is_new and not event.gateway:
                found.append(event)
                if len(found) == MOST_SHARED:
                    break
        return tuple(found[::-1])

    def add_shared(self, gateway: str, events: Iterable[ConsoleEvent]) -> None:
        """Record the events that another gateway has shared."""
        if len(self._of_peers) > 2 * self._most:  # not at each event
            self._of_peers = {it: of for it, of in self._of_peers.items() if of in self._events}
        for event in events:
            if not all(map(math.isfinite, (event.at, event.last_at, event.ended_at or 0.0))):
                continue
            identity = (gateway, event.id)
            known = self._events.get(self._of_peers.get(identity, 0))
            if known is None:
                self._add(replace(event, gateway=gateway))
                self._of_peers[identity] = self._last
            elif _state(known) != _state(event):
                self._change(known, event)

    def keep_gateways(self, present: Collection[str]) -> None:
        """Leave open the end of what went on at gateways that are not `present` any more."""
        for (gateway, _), identity in list(self._of_peers.items()):
            event = self._events.get(identity)  # a change may push another one out
            if event is not None and event.lasts and gateway not in present:
                self._change(event, replace(event, lasts=False))

    def _begin(self, new: JournalEvent) -> None:
        same = self._same(new)
        if same is None:
            new = self._limited(new)
            same = self._same(new)
        if same is None:
            self._add(msgspec.convert(new, ConsoleEvent, from_attributes=True))
            self._by_key[new.cause, new.subject] = self._last
            return
        is_known = same.lasts and new.count == 1  # by another process, or from another line
        if is_known and (new.level, new.sentence) == (same.level, same.sentence):
            return
        changed = replace(
            same,
            level=new.level,
            sentence=new.sentence,
            last_at=max(same.last_at, new.last_at),
            ended_at=new.ended_at,
            lasts=new.lasts,
            count=same.count + (0 if is_known else new.count),
        )
        self._change(same, changed)

    def _same(self, new: JournalEvent) -> ConsoleEvent | None:
        """Return the event that goes on, or was a moment ago, about the same."""
        same = self._events.get(self._by_key.get((new.cause, new.subject), 0))
        is_same = same is not None and (same.lasts or new.at - same.last_at < AGAIN_S)
        return same if is_same else None

    def _limited(self, new: JournalEvent) -> JournalEvent:
        """Return the occurrence, or after many of its name one that stands for all others."""
        name = new.cause
        since, count = self._counted.get(name, (new.at, 0))
        if new.at - since >= AGAIN_S:
            since, count = new.at, 0
        self._counted[name] = since, count + 1
        if count < MOST_OF_A_NAME:
            return new
        sentence = f"{new.sentence} {OTHERS}"
        return replace(new, subject="*", sentence=sentence, lasts=False)

    def _end(
        self, key: tuple[str, str], now: float, past: str = "", began: float | None = None
    ) -> None:
        event = self._events.get(self._by_key.get(key, 0))
        if event is not None and (event.lasts if began is None else abs(event.at - began) < NEAR_S):
            at = event.at if began is None else began
            ended = max(now, at)
            over = replace(event, lasts=False, at=at, ended_at=ended, last_at=ended)
            self._change(event, replace(over, sentence=past or in_past(event.sentence)))

    def _add(self, event: ConsoleEvent) -> None:
        self._last += 1
        self._keep(replace(event, sequence=self._last, id=self._last))

    def _change(self, event: ConsoleEvent, news: ConsoleEvent) -> None:
        del self._events[event.id]
        self._last += 1
        self._keep(replace(news, sequence=self._last, id=event.id, gateway=event.gateway))

    def _keep(self, event: ConsoleEvent) -> None:
        self._events[event.id] = event
        while len(self._events) > self._most:
            oldest = self._events.pop(next(iter(self._events)))
            if self._by_key.get(oldest.key) == oldest.id:
                del self._by_key[oldest.key]


def _state(event: ConsoleEvent) -> tuple[object, ...]:
    """Return the values of an event that may change."""
    return event.count, event.last_at, event.ended_at, event.lasts, event.sentence


def _label(event: ConsoleEvent) -> str:
    """Return the name of an event's rule in words: started, reload refused, origin down."""
    name = event.cause.removeprefix("server.")
    return name.replace(".", " ").replace("_", " ")
