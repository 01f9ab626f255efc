"""The first page: its charts, figures and routes, and what needs attention."""

from __future__ import annotations

from typing import Literal

import msgspec

from headgate_admin.model.kinds import HealthState, Level, Span, StateLevel, Transport
from headgate_gateway.telemetry.event_journal import EventLevel
from headgate_gateway.telemetry.health import HealthNote


class Line(msgspec.Struct, frozen=True):
    """A series of a chart: a value for each of the chart's moments, None where it is unknown."""

    name: str
    values: tuple[float | None, ...]


class Chart(msgspec.Struct, frozen=True):
    """Lines over the same moments, of which the first is `start` and each `step` seconds on."""

    start: float
    step: float
    lines: tuple[Line, ...]


class Stat(msgspec.Struct, frozen=True):
    """A number of the overview with its history, oldest first."""

    value: float | None
    history: tuple[float | None, ...]


class Durations(msgspec.Struct, frozen=True):
    """Quantiles of durations over the span, in seconds."""

    p50: float | None
    p99: Stat


class EventMark(msgspec.Struct, frozen=True):
    """An event in a chart: its beginning (epoch seconds), a sentence, and a word or two."""

    at: float
    level: EventLevel
    sentence: str
    label: str


class Instance(msgspec.Struct, frozen=True):
    """The gateway whose page this is, and its state."""

    name: str
    state: HealthState
    workers: int
    version: str
    started_at: float | None
    gateways: int  # that share a log and were heard of in the last seconds, with this one
    attention: int = 0  # incidents that are not muted


class Symptom(msgspec.Struct, frozen=True):
    """Something that an incident has caused."""

    sentence: str
    since: float
    about: HealthNote


class NextStep(msgspec.Struct, frozen=True):
    """The page (a path) and the command by which an operator goes on, and where to look first.

    Each is empty if there is none.
    """

    page: str = ""
    command: str = ""
    advice: str = ""


class Mute(msgspec.Struct, frozen=True):
    """The user who has muted an incident, and until when (epoch seconds)."""

    by: str
    until: float


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """An incident that an operator should look at: its cause in one sentence, and its symptoms.

    A muted one does not count for the state of the gateway.
    """

    id: str = ""
    about: HealthNote = HealthNote("")
    level: Level
    title: str = ""  # in a few words
    sentence: str
    route: str | None = None  # its prefix
    since: float | None = None
    ended_at: float | None = None  # None while it goes on
    alert: str = ""  # the rule whose section on the page of alerts says what to do, if there is one
    note: str = ""  # what will become of it
    next: NextStep = NextStep()
    symptoms: tuple[Symptom, ...] = ()
    mute: Mute | None = None


class Scrape(msgspec.Struct, frozen=True):
    """The last request for `/metrics`: when, and which program has sent it.

    Both are None if it was long ago: then nobody watches the alert rules in `unwatched`.
    """

    at: float | None
    by: str | None
    unwatched: tuple[str, ...] = ()


class PlaceFact(msgspec.Struct, frozen=True):
    """A fact about the storage or the origin of a route: a number in its unit, or words."""

    name: str
    value: float | str | None
    unit: Literal["count", "bytes", "seconds", "words"]
    level: StateLevel | None = None


class RouteFigures(msgspec.Struct, frozen=True):
    """A route's figures: rates of now; ratios, errors and the p99 of the whole span."""

    requests: float | None
    without_origin: float | None
    collapse: float | None  # readers for each request at the origin or read of the log
    readers: dict[Transport, int]
    appends: float | None
    errors: int  # responses with 5xx
    p99: float | None  # seconds of the origin's responses, or of the storage's appends
    history: tuple[float | None, ...]  # of requests


class RouteView(msgspec.Struct, frozen=True):
    """A route: where it goes, its policy in words, its health, its figures.

    Of an HTTP origin the first facts are the states of its servers, by their names.
    """

    prefix: str
    origin: str  # without credentials
    kind: str  # a kind of log, such as `redis`, or `http`
    state: HealthState
    policy: tuple[str, ...]  # a sentence each
    figures: RouteFigures
    repairs: dict[str, int]  # what was repaired in the origin's answers, and how often
    facts: tuple[PlaceFact, ...]
    # Stored now; created, expired and deleted since the start. Empty for origins.
    streams: dict[str, int] = {}


class Charts(msgspec.Struct, frozen=True):
    """The charts of the first page, all over the same moments."""

    marks: tuple[EventMark, ...]  # of all of them, by their time
    reads: Chart  # a second, by result
    appends: Chart  # a second, by outcome
    times: Chart  # p99 of reads, appends and deliveries
    readers: Chart  # live, by transport
    refused: Chart  # requests a second with 4xx, by what a client can mend
    behind: Chart  # p99 of the origins and storages that are slowest, by their routes


class Overview(msgspec.Struct, frozen=True):
    """The first page."""

    taken_at: float
    span: Span
    instance: Instance
    attention: tuple[Attention, ...]  # the worst first
    ended: tuple[Attention, ...]  # within the last hour, the newest first
    requests: Stat  # a second
    write_share: float | None  # of the requests of now, those that append
    appends: Stat  # that were stored, a second
    failed_appends: float | None  # with 5xx, a second
    failed: Stat  # the share of requests with 5xx
    errors: int  # the requests with 5xx in the span
    live_readers: Stat
    readers: dict[Transport, int]
    read: Durations  # from a request's head to its response
    append: Durations
    delivery: Durations  # from the commit of data to a live reader
    collapse: Stat
    shared: int  # responses of origins and reads of storage in the span, which readers shared
    without_origin: Stat
    reads: int  # in the span, of which `without_origin` is a part
    sent: Stat  # bytes of bodies a second
    received: float | None  # bytes of bodies a second
    is_unused: bool  # no request yet since the start, and no stream
    charts: Charts
    routes: tuple[RouteView, ...]
    scrape: Scrape

    @property
    def served(self) -> str:
        """The name of the ratio `without_origin`."""
        return served(*(route.kind for route in self.routes))


def served(*kinds: str) -> str:
    """Return the name of the ratio of reads that were neither at the origin nor read from a log.

    `kinds` are those of the routes.
    """
    if set(kinds) == {"http"}:
        return "Served without the origin"
    return "Served from the cache" if "http" in kinds else "Served from memory"
