"""The events of a gateway and of those it shares a log with: what happened, when, for how long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from admin.model.events import ConsoleEvent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.telemetry.event_journal import JournalEvent

# Days of a gateway in trouble; the fields of an event are bounded, so some megabytes at most.
MOST_EVENTS = 2_000
AGAIN_S = 60.0  # the same within this time is the same event, with a count
MOST_OF_A_NAME = 100  # events of one name in AGAIN_S; further ones are one event with a count
MOST_SHARED = 32  # of the newest own ones, some 16 KiB beside the figures of this gateway
# The others look every five seconds; older events would be stored in Redis again and again.
SHARED_FOR_S = 300.0
OTHERS = "(and others of the kind)"


class EventRecord:
    """The newest events by their sequence, which an event changes with each change."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self._most = most
        self._events: dict[int, ConsoleEvent] = {}  # by id, in the order of their sequences
        self._by_key: dict[str, int] = {}
        self._of_peers: dict[tuple[str, str, float], int] = {}
        self._counted: dict[str, tuple[float, int]] = {}  # the names of EVENT_RULES
        self._last = 0

    @property
    def last(self) -> int:
        """The sequence of the newest event."""
        return self._last

    def after(self, sequence: int) -> list[ConsoleEvent]:
        """Return the events with later sequences, in their order."""
        found = []
        for event in reversed(self._events.values()):
            if event.sequence <= sequence:
                break
            found.append(event)
        return found[::-1]

    def add(self, occurrences: Iterable[JournalEvent]) -> None:
        """Record what processes have seen."""
        for occurrence in sorted(occurrences, key=lambda it: it.last_at):
            if occurrence.ends:
                self._end(occurrence.ends, occurrence.last_at)
            if occurrence.key:
                self._begin(occurrence)

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
        for event in events:
            if not all(map(math.isfinite, (event.at, event.last_at, event.ended_at or 0.0))):
                continue
            identity = (gateway, event.key, event.at)
            known = self._events.get(self._of_peers.get(identity, 0))
            if known is None:
                self._add(msgspec.structs.replace(event, gateway=gateway))
                self._of_peers[identity] = self._last
            elif _state(known) != _state(event):
                self._change(known, event)

    def keep_gateways(self, present: Collection[str]) -> None:
        """Leave open the end of what went on at gateways that are not `present` any more."""
        for (gateway, _, _), identity in list(self._of_peers.items()):
            event = self._events.get(identity)  # a change may push another one out
            if event is not None and event.lasts and gateway not in present:
                self._change(event, msgspec.structs.replace(event, lasts=False))

    def _begin(self, new: JournalEvent) -> None:
        same = self._events.get(self._by_key.get(new.key, 0))
        if same is None or not (same.lasts or new.at - same.last_at < AGAIN_S):
            new = self._limited(new)
            same = self._events.get(self._by_key.get(new.key, 0))
        if same is not None and (same.lasts or new.at - same.last_at < AGAIN_S):
            is_known = same.lasts and new.count == 1  # by another process, or from another line
            if is_known and (new.level, new.sentence) == (same.level, same.sentence):
                return
            self._change(
                same,
                msgspec.structs.replace(
                    same,
                    level=new.level,
                    sentence=new.sentence,
                    last_at=max(same.last_at, new.last_at),
                    ended_at=None,
                    lasts=new.lasts,
                    count=same.count + (0 if is_known else new.count),
                ),
            )
            return
        self._add(
            ConsoleEvent(
                sequence=0,
                id=0,
                key=new.key,
                kind=new.kind,
                level=new.level,
                sentence=new.sentence,
                route=new.route,
                at=new.at,
                last_at=new.last_at,
                lasts=new.lasts,
                count=new.count,
            )
        )
        self._by_key[new.key] = self._last

    def _limited(self, new: JournalEvent) -> JournalEvent:
        """Return the occurrence, or after many of its name one that stands for all others."""
        name = new.key.partition(" ")[0]
        since, count = self._counted.get(name, (new.at, 0))
        if new.at - since >= AGAIN_S:
            since, count = new.at, 0
        self._counted[name] = since, count + 1
        if count < MOST_OF_A_NAME:
            return new
        sentence = f"{new.sentence} {OTHERS}"
        return msgspec.structs.replace(new, key=f"{name} *", sentence=sentence, lasts=False)

    def _end(self, key: str, now: float) -> None:
        event = self._events.get(self._by_key.get(key, 0))
        if event is not None and event.lasts:
            ended = max(now, event.at)
            self._change(
                event,
                msgspec.structs.replace(event, lasts=False, ended_at=ended, last_at=ended),
            )

    def _add(self, event: ConsoleEvent) -> None:
        self._last += 1
        self._keep(msgspec.structs.replace(event, sequence=self._last, id=self._last))

    def _change(self, event: ConsoleEvent, news: ConsoleEvent) -> None:
        del self._events[event.id]
        self._last += 1
        self._keep(
            msgspec.structs.replace(news, sequence=self._last, id=event.id, gateway=event.gateway)
        )

    def _keep(self, event: ConsoleEvent) -> None:
        self._events[event.id] = event
        while len(self._events) > self._most:
            oldest = self._events.pop(next(iter(self._events)))
            if self._by_key.get(oldest.key) == oldest.id:
                del self._by_key[oldest.key]
            self._of_peers.pop((oldest.gateway, oldest.key, oldest.at), None)


def _state(event: ConsoleEvent) -> tuple[object, ...]:
    """Return what may change of an event."""
    return event.count, event.last_at, event.ended_at, event.lasts
