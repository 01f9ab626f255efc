"""The data of the pages and the API, as values without a word of HTML.

Times are epoch seconds, durations seconds, sizes bytes, rates a second, ratios from 0 to 1.
None stands for what is not known: no data, which is not zero.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from admin.event_model import EventMark
from gateway.monitoring.promql import ALARM, TARGET
from gateway.telemetry.inspection import RunStatus

Level = Literal["good", "warning", "bad"]
Span = Literal["15m", "1h", "6h", "24h"]
Result = Literal["hit", "collapsed", "revalidated", "stale", "miss", "error"]
Transport = Literal["sse", "long-poll"]
Role = Literal["viewer", "operator"]
RESULTS: tuple[Result, ...] = ("hit", "collapsed", "revalidated", "stale", "miss", "error")
# Of reads that are to be served without the origin, and of which fewer are an alarm.
TARGET_RATIO, ALARM_RATIO = TARGET, ALARM


class HealthState(msgspec.Struct, frozen=True):
    """The state of something in a word or two: serving; degraded: log unreachable; draining."""

    level: Level
    words: str


class Line(msgspec.Struct, frozen=True):
    """A series of a chart: a value for each of the chart's moments, None where it is unknown."""

    name: str
    values: tuple[float | None, ...]


class Chart(msgspec.Struct, frozen=True):
    """Lines over the same moments, of which the first is `start` and each `step` seconds on."""

    start: float
    step: float
    lines: tuple[Line, ...]
    marks: tuple[EventMark, ...] = ()


class HeatMap(msgspec.Struct, frozen=True):
    """The delays of deliveries: for each moment a count for each bucket.

    A bucket is up to its bound in seconds; the last one has no bound.
    """

    start: float
    step: float
    bounds: tuple[float, ...]
    counts: tuple[tuple[float, ...] | None, ...]


class Instance(msgspec.Struct, frozen=True):
    """The gateway whose page this is, and its state."""

    name: str
    state: HealthState
    workers: int
    version: str
    started_at: float | None
    gateways: int  # that share a log and were heard of in the last seconds, with this one


class Stat(msgspec.Struct, frozen=True):
    """A number of the overview with its history, oldest first."""

    value: float | None
    history: tuple[float | None, ...]
    before: float | None = None  # what it was an hour ago


class Attention(msgspec.Struct, frozen=True):
    """Something that an operator should look at, in one sentence."""

    level: Level
    sentence: str
    route: str | None = None  # its prefix
    since: float | None = None


class Writes(msgspec.Struct, frozen=True):
    """The appends of all routes: rates a second, durations from a request's head to its response.

    Refused is what was answered with 4xx, failed with 5xx.
    """

    appends: Stat  # that were stored
    received: Stat  # bytes of request bodies
    refused: Stat
    failed: Stat
    p50: Stat
    p99: Stat
    commits: Stat  # of logs of our own
    appends_per_commit: Stat
    by_outcome: Chart
    durations: Chart


class LogFact(msgspec.Struct, frozen=True):
    """A fact about the place where appends go: a number in its unit, or words."""

    name: str
    value: float | str | None
    unit: Literal["count", "bytes", "seconds", "words"]
    level: Level | None = None


class LogView(msgspec.Struct, frozen=True):
    """The place where the appends of a route go: a log of this gateway's, or an origin."""

    route: str  # its prefix
    origin: str  # without credentials
    kind: str  # as of RouteView
    state: HealthState
    facts: tuple[LogFact, ...]


class RouteFigures(msgspec.Struct, frozen=True):
    """A route's figures over the span: rates of now, ratios of the whole span."""

    requests: float | None
    without_origin: float | None
    collapse: float | None  # readers for each request at the origin or read of the log
    readers: dict[Transport, int]
    appends: float | None
    errors: float | None
    history: tuple[float | None, ...]  # of requests


class Server(msgspec.Struct, frozen=True):
    """A server of an HTTP origin."""

    name: str  # without credentials
    state: HealthState


class RouteView(msgspec.Struct, frozen=True):
    """A route: where it goes, its policy in words, its health, its figures."""

    prefix: str
    origin: str  # without credentials
    kind: str  # a kind of log, such as `redis`, or `http`
    state: HealthState
    policy: tuple[str, ...]  # a sentence each
    figures: RouteFigures
    repairs: dict[str, int]  # what was repaired in the origin's answers, and how often
    servers: tuple[Server, ...] = ()
    streams: dict[str, int] = {}  # created, expired and deleted since the start; empty for origins


class Overview(msgspec.Struct, frozen=True):
    """The first page."""

    taken_at: float
    span: Span
    instance: Instance
    attention: tuple[Attention, ...]  # the worst first
    without_origin: Stat
    reads: int  # in the span, of which `without_origin` is a part
    collapse: Stat
    most_collapsed: float | None  # readers that one answer was given to
    live_readers: Stat
    readers: dict[Transport, int]
    delivery_p99: Stat
    requests: Stat  # a second
    appends: Stat  # a second
    by_result: Chart
    ratio: Chart
    by_transport: Chart
    delivery: HeatMap
    routes: tuple[RouteView, ...]
    writes: Writes
    logs: tuple[LogView, ...]  # in the order of the routes


class RunView(msgspec.Struct, frozen=True):
    """A run of an application. Figures are None where this gateway has not seen all of it.

    `items_per_second` counts from the first item on, which came `first_item_after` its start.
    """

    name: str  # below the prefix of its route
    status: RunStatus
    error: str | None
    started_at: float | None
    lasted: float | None
    first_item_after: float | None
    items: int | None
    items_per_second: float | None


class RunsView(msgspec.Struct, frozen=True):
    """A page of a route's runs: those that go on, then the newest.

    `after` is where the next page begins. `is_cut` says that the route has more streams than were
    looked at, so that runs from before the gateway's start may be missing.
    """

    runs: tuple[RunView, ...]
    after: str | None = None
    is_cut: bool = False


class SettingView(msgspec.Struct, frozen=True):
    """A setting in effect."""

    key: str
    value: str  # secrets masked
    default: str
    source: str  # default, a file and its line, a variable, an option
    help: str
    differs: bool  # from its default


class Configuration(msgspec.Struct, frozen=True):
    """The settings in effect; what differs from its default first."""

    settings: tuple[SettingView, ...]


class About(msgspec.Struct, frozen=True):
    """Versions, file formats, limits of the process."""

    versions: dict[str, str]
    formats: dict[str, str]
    limits: dict[str, str]


class Viewer(msgspec.Struct, frozen=True):
    """The user of a page. `csrf` goes with every change, as a form's field or as X-CSRF-Token.

    `csrf` is empty for a request with a token, since that has no cookie.
    """

    name: str
    role: Role
    csrf: str = ""
    signed_in: bool = False  # by a session, which can be ended


class MessagePlace(msgspec.Struct, frozen=True):
    """The place where messages begin: `skip` messages after an offset, as a response has many."""

    offset: str
    skip: int = 0


class Message(msgspec.Struct, frozen=True):
    """A message of a JSON stream, or a piece of any other.

    `text` is what it says if it is text, else None, and `data` are its bytes. Both are cut where
    `truncated`. The protocol tells offsets between answers, and not between the messages of one:
    so `next_offset` is known of the last one alone.
    """

    size: int  # bytes, uncut; of what is too long to be read, those that were
    text: str | None
    data: bytes | None
    truncated: bool = False
    next_offset: str | None = None


class Messages(msgspec.Struct, frozen=True):
    """Messages of a stream from a place on, and the place of those behind them.

    `behind` is None at the tail; `tail` is then the offset from which a live tail goes on.
    """

    content_type: str
    begin: MessagePlace
    messages: tuple[Message, ...]
    behind: MessagePlace | None
    tail: str | None
    closed: bool = False  # and this is its end


class CdnTarget(msgspec.Struct, frozen=True):
    """A kind of CDN or proxy that a configuration can be made for. Sentences are for people."""

    name: str
    title: str
    file_name: str
    does: tuple[str, ...]
    does_not: tuple[str, ...]
    limits: tuple[str, ...]  # that whoever takes it has to know, with their reasons
    exclusions: tuple[str, ...]  # the other limits of its options, for whoever looks for one
    compared: dict[str, str]  # in a few words each, what tells it from the others
    state: str  # how far its configuration was put to the test
    checked: str  # how its configuration is tested
    credentials: tuple[str, ...]  # the modes that it can keep
    needs_host: bool  # unless the file is standalone
    can_stand_alone: bool  # as a whole file, which runs as any user
    is_elsewhere: bool  # at a vendor, who has to reach the gateway by the internet
    can_be_purged: bool
    can_serve_stale: bool  # while the gateway is away
    shield: str  # what names a place there that asks for all others; empty where there is none
    beside: tuple[str, ...]  # targets whose files must lie beside this one


class DoctorFinding(msgspec.Struct, frozen=True):
    """The finding of a doctor's check: sentences without the last full stop.

    `change` is what to do about it; empty where there is nothing to do.
    """

    check: str
    verdict: str  # pass, fail, could not tell, note
    saw: str
    change: str


class DoctorWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deployment to be examined: a host that the settings name, and a route's prefix there.

    Without a route the first is taken. `digest` is the one that the deployed file should have.
    """

    host: Annotated[str, msgspec.Meta(max_length=300)]
    scheme: Literal["https", "http"] = "https"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    route: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    digest: Annotated[str, msgspec.Meta(pattern="^[a-z-]{1,64}/[0-9a-f]{16}$")] | None = None


class DoctorView(msgspec.Struct, frozen=True):
    """The possible examinations, and the last one: its `url` is None before the first.

    `trouble` is why there are no findings; `left` are streams that could not be removed.
    """

    hosts: tuple[str, ...]
    routes: tuple[str, ...]
    url: str | None = None
    by: str = ""
    began_at: float | None = None
    is_running: bool = False
    findings: tuple[DoctorFinding, ...] = ()
    requests: int = 0
    seconds: float = 0.0
    trouble: str = ""
    left: tuple[str, ...] = ()


class CdnTargets(msgspec.Struct, frozen=True):
    """Every target."""

    targets: tuple[CdnTarget, ...]


class CdnFile(msgspec.Struct, frozen=True):
    """A configuration, and the command that makes the same."""

    target: str
    file_name: str
    text: str
    command: str
    digest: str | None = None  # which its answers have; None where it answers nothing itself
