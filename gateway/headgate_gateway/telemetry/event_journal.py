"""The events of this process: log lines that are events, until the console has them.

`EVENT_RULES` alone says which log lines are events, so a new event is a row there. An event has no
fields but those that its row names: no address of a client and no secret is among them.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

EventKind = Literal["server", "worker", "log", "origin", "access", "purge", "change", "attention"]
EventLevel = Literal["good", "warning", "bad"]

# Between two looks of the console, five seconds apart, a process logs a handful of events. A
# thousand with 1 KiB each are what it may keep while the console does not ask.
MOST_UNTAKEN = 1000
MOST_AT_ONCE = 200  # in one answer, which is a message between processes
LONGEST_FIELD = 300  # characters; a reason of Redis or of the system is shorter
STOOD_STILL = "process.stood_still"  # of the gateway, which was silent meanwhile, or of a worker


class EventRule(NamedTuple):
    """A rule that makes log lines of one name events.

    `about` are the fields that say what it concerns: two lines with the same are one event. The
    event goes on until a line whose rule `ends` it. A line without a `sentence` only ends one. The
    field `lasted` has the seconds that an event lasted, up to its line.
    """

    kind: EventKind
    level: EventLevel = "good"
    sentence: str = ""
    about: tuple[str, ...] = ()
    ends: str = ""
    lasted: str = ""


EVENT_RULES: dict[str, EventRule] = {
    "server.started": EventRule("server", "good", "the server has started"),
    "server.stopping": EventRule("server", "good", "the server began to drain and stop"),
    "server.reloaded": EventRule(
        "server", "good", "the settings were read again", ends="server.reload_refused"
    ),
    "server.reload_refused": EventRule("server", "bad", "a reload was refused: {problems}"),
    "server.drain_incomplete": EventRule(
        "server", "warning", "readers or requests were left after {grace_s} s of draining"
    ),
    # Each has a duration of its own, so two within a minute are two events.
    STOOD_STILL: EventRule(
        "server",
        "warning",
        "{process} stood still for {for_s} s",
        ("process", "for_s"),
        "",
        "for_s",
    ),
    "clock.set": EventRule("server", "warning", "the clock of the machine was set"),
    "tls.certificate_read": EventRule(
        "server", "good", "a certificate was read: {file}", ("file",), ends="tls.files_refused"
    ),
    "tls.files_refused": EventRule("server", "bad", "a certificate was refused: {why}", ("file",)),
    "tls.certificate_ends": EventRule(
        "server", "warning", "the certificate {file} {why}", ("file",)
    ),
    "tls.certificate_invalid": EventRule(
        "server", "bad", "the certificate {file} {why}, and is in use", ("file",)
    ),
    "front.ended": EventRule("worker", "bad", "the front ended: {reason}"),
    "worker.ended": EventRule("worker", "bad", "worker {worker} {reason}", ("worker",)),
    "worker.started": EventRule("worker", about=("worker",), ends="worker.ended"),
    "worker.hangs": EventRule("worker", "bad", "worker {worker} hung: {reason}", ("worker",)),
    "worker.killed": EventRule(
        "worker", "bad", "workers that did not end, and were killed: {workers}"
    ),
    "origin.down": EventRule("origin", "bad", "{server} went down: {reason}", ("server",)),
    "origin.up": EventRule("origin", about=("server",), ends="origin.down"),
    "origin.failing": EventRule("origin", "bad", "{server} {reason}", ("server",)),
    "origin.not_failing": EventRule("origin", about=("server",), ends="origin.failing"),
    "log.failed": EventRule(
        "log", "bad", "the log at {server}{file} failed: {reason}", ("server", "file")
    ),
    "log.recovered": EventRule("log", about=("server", "file"), ends="log.failed"),
    "log.switched": EventRule("log", "warning", "{server} has another primary", ("server",)),
    "log.history_changed": EventRule(
        "log", "warning", "{server} came back, or another took over", ("server",)
    ),
    "log.writes_lost": EventRule("log", "bad", "{server} lost acknowledged writes", ("server",)),
    "log.nothing_lost": EventRule("log", "good", "{server} lost nothing", ("server",)),
    "log.loss_unknown": EventRule(
        "log", "warning", "it was not known whether {server} lost writes", ("server",)
    ),
    "log.damaged": EventRule("log", "bad", "{file} was found damaged: {reason}", ("file",)),
    "log.torn": EventRule("log", "warning", "the end of {file} could not be used", ("file",)),
    "log.reserve_released": EventRule(
        "log", "warning", "the disk was full: the reserve beside {file} was released", ("file",)
    ),
    "purge.failed": EventRule(
        "purge", "bad", "{cache} at {place} could not be purged: {reason}", ("cache", "place")
    ),
    "purge.recovered": EventRule("purge", about=("cache", "place"), ends="purge.failed"),
    "purge.abandoned": EventRule(
        "purge", "bad", "{purges} purges of {cache} at {place} were given up", ("cache", "place")
    ),
    "purge.widened": EventRule(
        "purge", "warning", "all of {route} was purged: too many purges waited", ("route",)
    ),
    "access.file_read": EventRule(
        "access", "good", "{file} was read again", ("file",), ends="access.file_refused"
    ),
    "access.revoked": EventRule("access", "warning", "revoked: {what}", ("what",)),
    "access.file_refused": EventRule("access", "bad", "{file} was refused: {why}", ("file",)),
    "access.keys_not_fetched": EventRule(
        "access", "bad", "the keys at {url} were not fetched: {why}", ("url",)
    ),
    "access.keys_fetched": EventRule("access", about=("url",), ends="access.keys_not_fetched"),
    "admin.signed_in": EventRule("access", "good", "{name} signed in to the console", ("name",)),
    "admin.sign_in_refused": EventRule("access", "warning", "a sign-in to the console was refused"),
    "admin.changed": EventRule(
        "change",
        "good",
        "{by}: {operation} {stream}",
        ("operation", "route", "stream", "by"),
    ),
    "admin.change_failed": EventRule(
        "change",
        "warning",
        "{by}: {operation} {stream} failed",
        ("operation", "route", "stream", "by"),
    ),
    "deletion.done": EventRule(
        "change",
        "good",
        "{by}: the deletion of all streams below {prefix} is done: {deleted} deleted, {gone} gone",
        ("id", "route"),
    ),
    "deletion.incomplete": EventRule(
        "change",
        "warning",
        "{by}: the deletion of all streams below {prefix} ended with {deleted} deleted, {gone} "
        "gone, {failed} failed, {left} left: {reason}",
        ("id", "route"),
    ),
}
# Events that go on until another line ends them.
LASTING = frozenset(rule.ends for rule in EVENT_RULES.values() if rule.ends)


# The past tense of verbs in reasons, which follow a name or a colon.
_PAST = {
    "answers": "answered",
    "are": "were",
    "cannot": "could not",
    "does": "did",
    "has": "had",
    "is": "was",
    "refuses": "refused",
    "takes": "took",
}
_VERB = rf"({'|'.join(_PAST)})(?=[\s;]|\Z)"
_FIRST, _ANY = re.compile(rf"\A{_VERB}"), re.compile(rf"(?<!\S){_VERB}")


def in_past(sentence: str) -> str:
    """Return the sentence of an event that is over: its reason is over, too."""
    name, colon, reason = sentence.partition(": ")
    subject, space, verb = name.partition(" ")
    return f"{subject}{space}{_FIRST.sub(_past, verb)}{colon}{_ANY.sub(_past, reason)}"


def _past(verb: re.Match[str]) -> str:
    return _PAST[verb[0]]


class JournalEvent(msgspec.Struct, frozen=True):
    """An event as one process saw it `count` times, from `at` to `last_at` (epoch seconds).

    `ended_at` is set if its line says how long it lasted.
    `cause` is the name of the log line, and `subject` what it is about. It ends an event of the
    cause `ends` about the same; without a `sentence`, it does no more than that. `stream` is the
    name of the one stream that it is about, or with a * at its end the beginning of the names of
    several.
    """

    sequence: int
    cause: str
    subject: str
    ends: str
    kind: EventKind
    level: EventLevel
    sentence: str
    route: str | None
    at: float
    last_at: float
    lasts: bool = False
    count: int = 1
    stream: str | None = None
    ended_at: float | None = None


def is_about(stream: str | None, name: str) -> bool:
    """Return whether an event with this `stream` is about the one of this name, or about all."""
    if stream is None or stream == name:
        return True
    return stream.endswith("*") and name.startswith(stream[:-1])


class ProcessEvents(msgspec.Struct, tag=True, frozen=True):
    """The events that a process has and the console has not, oldest first."""

    process: str
    events: tuple[JournalEvent, ...]


class EventJournal:
    """The events of this process that the console has not taken; threads may add to it.

    Events with the same key are one with a count until they are sent for the first time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.open()

    def open(self) -> None:
        """Begin empty, with a name of its own: a fork has another one than its parent."""
        self.process = secrets.token_hex(8)
        self.dropped = 0
        self._sequence = 0
        self._unsent: dict[tuple[str, str], JournalEvent] = {}  # by cause and subject
        self._sent: list[JournalEvent] = []

    def note(self, event: str, fields: Mapping[str, object]) -> None:
        """Add the log line `event` with its fields, if a rule makes it an event."""
        rule = EVENT_RULES.get(event)
        if rule is not None:
            now = time.time()  # noqa: TID251 - as log lines have it
            with self._lock:
                self._add(_occurrence(event, rule, _Fields(fields), now))

    def events_after(self, after: int) -> ProcessEvents:
        """Forget the events up to the sequence `after`; return those after it."""
        with self._lock:
            self._sent = [it for it in self._sent if it.sequence > after]
            if not self._sent:
                keys = sorted(self._unsent, key=lambda key: self._unsent[key].sequence)
                self._sent = [self._unsent.pop(key) for key in keys[:MOST_AT_ONCE]]
            return ProcessEvents(self.process, tuple(self._sent))

    def _add(self, new: JournalEvent) -> None:
        self._sequence += 1
        key = (new.cause, new.subject)
        same = self._unsent.pop(key, None)
        if same is None and len(self._unsent) >= MOST_UNTAKEN:
            del self._unsent[next(iter(self._unsent))]
            self.dropped += 1
        at, count = (new.at, 0) if same is None else (same.at, same.count)
        self._unsent[key] = msgspec.structs.replace(
            new, sequence=self._sequence, at=at, count=count + new.count
        )


class _Fields(dict[str, str]):
    """The fields of a line as text, shortened; one that is missing is empty."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        super().__init__({name: _text(value) for name, value in fields.items()})

    def __missing__(self, name: str) -> str:
        return ""


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        value = "; ".join(map(str, value))
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST_FIELD else f"{text[:LONGEST_FIELD]}…"


def _occurrence(event: str, rule: EventRule, fields: _Fields, now: float) -> JournalEvent:
    lasted_s = float(fields[rule.lasted] or 0)
    return JournalEvent(
        sequence=0,
        cause=event,
        subject=" ".join(fields[name] for name in rule.about),
        ends=rule.ends,
        kind=rule.kind,
        level=rule.level,
        sentence=rule.sentence.format_map(fields),
        route=fields["route"] or None,
        at=now - lasted_s,
        last_at=now,
        ended_at=now if lasted_s else None,
        lasts=event in LASTING,
        stream=f"{fields['prefix']}*" if fields["prefix"] else fields["stream"] or None,
    )


JOURNAL = EventJournal()
