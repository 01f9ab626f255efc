"""A console with made-up figures, some of them hostile: what the pages show, without a gateway."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from admin.cdn_doctor import CdnDoctor
from admin.configuration.reloads import ConsoleReloads
from admin.console import Console
from admin.credentials.credentials import ConsoleCredentials
from admin.errors import ConsoleError
from admin.model.doctor import DoctorFinding
from admin.model.kinds import HealthState, OfSpan
from admin.model.overview import (
    Attention,
    Chart,
    EventMark,
    HeatMap,
    Instance,
    Line,
    LogFact,
    LogView,
    Mute,
    NextStep,
    Overview,
    RouteFigures,
    RouteView,
    Server,
    Stat,
    Symptom,
    Writes,
)
from admin.model.settings import (
    About,
    Configuration,
    PendingChange,
    PendingConfiguration,
    ReloadDone,
    RoutePlan,
    SettingView,
    WatchedFileState,
)
from admin.model.stream_wishes import AppendBody, ChangeMade, Stopping
from admin.model.streams import (
    MessagePlace,
    Messages,
    OfMessages,
    OfRuns,
    OfStream,
    RequestToExplain,
    RunsView,
    RunView,
    ShownMessage,
    StreamSearch,
)
from admin.model.tokens import (
    OfTokens,
    ReadToken,
    Revocation,
    RevokedTokens,
    TokensView,
    TokenWish,
)
from admin.readers.console_readers import (
    BanPage,
    BanWish,
    ConsoleReaders,
    DisconnectedReaders,
    OfBan,
    ReaderIds,
)
from admin.record.event_record import ConsoleEvent
from admin.record.figures import REFUSED_BY
from admin.record.fleet import Fleet, GatewaysView
from admin.record.gateways import GatewayView
from admin.record.processes import ProcessView
from admin.record.recorder import Recorder
from admin.record.refusals import RefusalCause, Refusals, RefusalsView
from admin.streams.changes import ConsoleChanges
from admin.streams.deletion import Deletion
from gateway.access.bans import Ban
from gateway.features.console.name_search import name_test
from gateway.features.questions.loudest import ClientLoad, LoudestList, StreamLoad
from gateway.features.questions.readers import (
    ReaderGroup,
    ReaderGroups,
    ReaderPage,
    ReaderRow,
)
from gateway.features.questions.runs import AnswerRow
from gateway.features.questions.streams import (
    ExplainStep,
    Explanation,
    ProducerRow,
    StreamDescription,
    StreamPage,
    StreamRow,
)
from gateway.features.questions.tokens import (
    GrantRow,
    RevocationRow,
    SignedTokenRow,
    StaticTokenRow,
    TokenKeyRow,
    TokenUse,
)
from gateway.features.subscriptions.metrics import SUBSCRIPTIONS
from gateway.settings import Settings
from gateway.settings.reading.reload_effects import SET_UP_ANEW
from gateway.telemetry.access_log import RefusedRequest
from gateway.telemetry.metrics import gauge
from tests.admin.browser.made_up_subscriptions import MadeUpSubscriptions, summaries
from tests.admin.consoles import REFUSALS, Switchboard, sample, setup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from admin.model.kinds import Span
    from admin.model.viewer import Viewer
    from gateway.features.questions.readers import GroupBy, ListReaders, ReaderQuery
    from gateway.features.questions.runs import RunStatus

Shown = TypeVar("Shown", Overview, Writes)
NOW = 1_772_366_710.0  # 2026-03-01 12:05:10 UTC
SETTINGS_READ = gauge("headgate_config_last_reload_successful", "")
POINTS = 180
STEP_S = 5.0
SHARES = {
    "hit": 0.71,
    "collapsed": 0.16,
    "revalidated": 0.05,
    "stale": 0.02,
    "miss": 0.05,
    "error": 0.01,
}
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
HOSTILE = (
    "%3Cimg%20src=x%20onerror=alert(1)%3E",
    "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "it's-'quoted'-%22twice%22",
    "%E2%80%AEgpj.exe",  # turns round what follows
    "%D7%A9%D7%9C%D7%95%D7%9D-%D8%A7%D9%84%D8%B9%D8%A7%D9%84%D9%85",  # right to left
    "n" * 2000,
    "%7B%7B7*7%7D%7D",
)
PAYLOADS = (
    '{"token": "Hello", "at": 12345678901234567890, "parts": [1, 2, {"deep": null}]}',
    '"<script>alert(1)</script>"',
    '{"\\u202egpj": "</pre><img src=x onerror=alert(1)>"}',
    "[]",
)


FINDINGS = (
    DoctorFinding("304", "pass", "a reader that has the data gets 304", ""),
    DoctorFinding(
        "equal polls",
        "fail",
        "of 20 that an append ended, 20 reached the server; the last answered 0.0 s after it",
        "Let equal requests wait for one. In nginx.conf (nginx): proxy_cache_lock on.",
    ),
    DoctorFinding("credentials", "could not tell", f"it said: {PAYLOADS[1]} \u202egpj", ""),
    DoctorFinding("reader-key", "note", "not examined: the server sends no reader key", ""),
    DoctorFinding(
        "configuration",
        "fail",
        "drifted: rendered with other options or by another version, render anew (deployed "
        "nginx/4b377d29c24c42d1, now nginx/0c6a7d9be41f2a35)",
        "Render the file again with the options at its beginning, deploy it, and let its "
        "header Headgate-Config through.",
    ),
)


def wave(middle: float, swing: float, points: int = POINTS, shift: float = 0) -> tuple[float, ...]:
    """A curve that looks measured: two waves and a little noise, the same each time."""
    return tuple(
        middle
        + swing * math.sin((at + shift) / 28)
        + swing / 3 * math.sin((at + shift) / 5.3)
        + swing / 9 * math.sin(at * at)
        for at in range(points)
    )


SERVING = HealthState("good", "serving")
LOGS = (
    LogView(
        "/v1/stream",
        "redis://redis-0:6379",
        "redis",
        SERVING,
        (
            LogFact("Role", "primary", "words", "good"),
            LogFact("Memory of the primary", 1.8e9, "bytes"),
            LogFact("Replicas", 2, "count"),
            LogFact("Slowest replica is behind by", 4096, "bytes"),
            LogFact("Round trip to the primary", 0.0004, "seconds"),
            LogFact("Append-only file", "off", "words", "warning"),
        ),
    ),
    LogView(
        "/v1/chat",
        "https://streams.example.com",
        "http",
        HealthState("warning", "origin answers 503"),
        (
            LogFact("streams-a.example.com:443", "up", "words", "good"),
            LogFact("streams-b.example.com:443", "down", "words", "bad"),
            LogFact("Requests at the origin now", 14, "count"),
        ),
    ),
    LogView(
        "/v1/audit",
        "file:/var/lib/headgate",
        "file",
        SERVING,
        (
            LogFact("Data file", 3.2e9, "bytes"),
            LogFact("Used of max_storage_size", 2.9e9, "bytes"),
            LogFact("max_storage_size", 1e10, "bytes"),
            LogFact("Free on the disk", 8e11, "bytes"),
            LogFact("Time until full", 40_000, "seconds", "warning"),
            LogFact("Streams", 137, "count"),
        ),
    ),
)


def _writes() -> Writes:
    p50, p99 = wave(0.0016, 0.0004), wave(0.009, 0.002)
    stored, refused = wave(400, 30), tuple(max(0.0, it) for it in wave(3, 3))
    none = (0.0,) * POINTS
    return Writes(
        appends=Stat(412.0, stored),
        received=Stat(1.9e6, wave(1.8e6, 2e5)),
        refused=Stat(2.4, refused),
        failed=Stat(0.0, none),
        p50=Stat(0.0017, p50),
        p99=Stat(0.0094, p99, before=0.0091),
        commits=Stat(61.0, wave(60, 5)),
        appends_per_commit=Stat(6.7, wave(6.6, 0.5)),
        by_outcome=Chart(
            NOW - 895,
            STEP_S,
            (
                Line("stored", stored),
                Line("refused", refused),
                Line("failed", none),
                Line("client left", none),
            ),
        ),
        durations=Chart(NOW - 895, STEP_S, (Line("p50", p50), Line("p99", p99))),
    )


class MadeUpRefusals(Refusals):
    """Refusals of each kind, and some of the newest with hostile sentences."""

    def __init__(self) -> None:
        """Nothing is measured."""

    async def view(
        self, query: OfSpan, viewer: Viewer, between: tuple[float, float] | None = None
    ) -> RefusalsView:
        causes = tuple(
            RefusalCause(route, status, count, wave(count / 900, count / 3000))
            for route, status, count in (
                ("/v1/stream", "404", 1_204),
                ("/v1/chat", "5xx", 312),
                ("/v1/stream", "409", 41),
                ("/v1/chat", "401", 12),
            )
        )
        newest = tuple(
            RefusedRequest(
                NOW - 7 * at,
                f"0c6a7d9be41f2a35{at:04}",
                "" if at == 3 else "/v1/stream",
                status,
                detail,
                "192.0.2.7" if viewer.is_operator else None,
            )
            for at, (status, detail) in enumerate(
                (
                    (404, "there is no stream at this path"),
                    (409, PAYLOADS[1]),
                    (502, ""),
                    (400, "the header Host is missing \u202e"),
                )
            )
        )
        return RefusalsView(NOW, query.span, causes, newest)


def _gateways() -> tuple[GatewayView, ...]:
    others = (
        ("10.0.0.4:4437", "edge-1", HealthState("good", "serving"), None),
        ("10.0.0.5:4437", "edge-2", HealthState("good", "serving"), None),
        ("10.0.0.6:4437", "edge-3", HealthState("bad", "silent"), NOW - 130),
        ("10.0.0.7:4437", "edge-4", HealthState("good", "stopped"), NOW - 1900),
    )
    return tuple(
        GatewayView(
            name=name,
            host=host,
            is_this=at == 0,
            state=state,
            version="0.1.0" if at != 1 else "0.2.0",
            started_at=NOW - 86_000 / (at + 1),
            workers=4,
            restarts=2 if at == 0 else 0,
            processor=0.9 / (at + 1),
            memory=(280 + at) * 1024.0**2,
            files=214.0,
            most_files=65_536.0,
            loop_lag=0.0021,
            connections=48_210.0 / (at + 1),
            clock_skew=-31.0 if at == 1 else 0.0,
            reported_at=silent or NOW,
            silent_since=silent,
        )
        for at, (name, host, state, silent) in enumerate(others)
    )


class MadeUpFleet(Fleet):
    """A supervisor and four workers, of which one was killed a minute ago; three more gateways."""

    def view(self, now: float) -> GatewaysView:
        return GatewaysView(NOW, _processes(), _gateways())


def _processes() -> tuple[ProcessView, ...]:
    names = ("supervisor", "worker 1", "worker 2", "worker 3", "worker 4")

    return tuple(
        ProcessView(
            name=name,
            state=HealthState("bad", "does not answer")
            if at == 3
            else HealthState("good", "running"),
            pid=4711 + at,
            started_at=NOW - (70 if at == 2 else 86_000),
            processor=0.42 / (at + 1),
            memory=(61 + at) * 1024.0**2,
            files=212.0 + at,
            most_files=65_536.0,
            loop_lag=None if at == 0 else 0.0021,
            connections=None if at == 0 else 12_052.0,
            restarts=2 if at == 2 else 0,
            last_end="killed by SIGKILL" if at == 2 else None,
            last_ended_at=NOW - 71 if at == 2 else None,
        )
        for at, name in enumerate(names)
    )


class MadeUpChanges(ConsoleChanges):
    """Changes that are only remembered, in `done`."""

    def __init__(self, done: list[tuple[str, ...]]) -> None:
        self.done = done

    async def append(self, body: AppendBody, viewer: Viewer) -> ChangeMade:
        self.done.append(("append", body.name, body.data))
        return ChangeMade("0000000001_0000000000036030")

    async def close(self, body: OfStream, viewer: Viewer) -> ChangeMade:
        self.done.append(("close", body.name))
        return ChangeMade("0000000001_0000000000036030")

    async def delete(self, query: OfStream, viewer: Viewer) -> None:
        self.done.append(("delete", query.name))

    async def stop_run(self, body: OfStream, viewer: Viewer) -> Stopping:
        self.done.append(("stop", body.name))
        return Stopping(True)


class MadeUpCredentials(ConsoleCredentials):
    """Tokens with hostile names, and changes that are only remembered, in `done`."""

    def __init__(self, done: list[tuple[str, ...]]) -> None:
        self.done = done

    async def page(self, query: OfTokens, viewer: Viewer) -> TokensView:
        grants = (
            GrantRow("/v1/stream/orders/*", ("append", "create", "read")),
            GrantRow(f"/v1/stream/{HOSTILE[5]}", ("read",)),
        )
        names = ("billing", "auditor", PAYLOADS[1], "old", "never-used")
        return TokensView(
            tokens=tuple(
                StaticTokenRow(
                    name,
                    grants[: at + 1],
                    2 if at < 2 else 9,
                    (None, NOW + 9e6, NOW - 5)[at % 3],
                    name == "old",
                    TokenUse(None if at == 4 else NOW - 7 * 40**at, 12 * at, at),
                )
                for at, name in enumerate(names)
            ),
            after="never-used",
            tokens_in_all=61,
            signed=(
                SignedTokenRow("read-token", "a", "ann", "", "ann", TokenUse(NOW - 3, 0, 2)),
                SignedTokenRow(
                    "jwt", "b", PAYLOADS[1], "https://id.example.com/", None, TokenUse(NOW - 90)
                ),
            ),
            keys=(
                TokenKeyRow(
                    "read-token", "", "", "/etc/headgate/keys.json", ("EdDSA",), ("k1", "k2"), "k1"
                ),
                TokenKeyRow(
                    "jwt",
                    "https://id.example.com/",
                    "streams",
                    "https://id.example.com/.well-known/jwks.json",
                    ("ES256",),
                    (),
                ),
            ),
            revocations=(
                RevocationRow("name", "old"),
                RevocationRow("jti", PAYLOADS[1]),
                RevocationRow("sub", "mallory", NOW - 86_000),
            ),
            revocations_in_all=1204,
            unknown=17,
            tokens_file="/etc/headgate/tokens.toml",
            keys_file="/etc/headgate/keys.json",
            longest_lifetime=900,
            problems=("/etc/headgate/tokens.toml is not in force as it is now: line 3: no TOML",),
        )

    async def make_token(self, body: TokenWish, viewer: Viewer) -> ReadToken:
        self.done.append(("token", body.subject))
        token = "eyJhbGciOiJFZERTQSJ9." * 9  # as long as one
        return ReadToken(token, int(NOW) + 900, "jti-of-it", f"__Secure-headgate={token}")

    async def revoke(self, body: Revocation, viewer: Viewer) -> RevokedTokens:
        self.done.append(("revoke", body.kind, body.value))
        return RevokedTokens("", ("name old may still have a reader key",))


class MadeUpReaders(ConsoleReaders):
    """Readers of two workers, some of them hostile, and two bans."""

    def __init__(self, done: list[tuple[str, ...]]) -> None:
        self.done = done

    async def page(self, question: ListReaders) -> ReaderPage:
        rows = tuple(map(_reader, range(11)))
        return ReaderPage(rows, 10_432, '[-35000.0,"7f3a-11"]')

    async def groups(self, where: ReaderQuery, by: GroupBy) -> ReaderGroups:
        names = {
            "principal": ("token shop", "jwt 5d0a", "", "token " + HOSTILE[0]),
            "address": ("192.0.2.7", "2001:db8::7", "", "198.51.100.4"),
            "stream": ("/v1/stream/chat/0000", f"/v1/stream/{HOSTILE[0]}"),
        }[by]
        rows = (
            ReaderGroup(name, name, 4_000 // (at + 1), 1 << (30 - at), 35_000 * at, NOW - 900 * at)
            for at, name in enumerate(names)
        )
        return ReaderGroups(tuple(rows), 512)

    async def loudest(self, viewer: Viewer) -> LoudestList:
        load: Any = {
            "load": 900.0,
            "requests": 412.0,
            "appends": 12.5,
            "refused": 3.0,
            "sent_bytes": 7e6,
            "received_bytes": 5e4,
        }
        clients = (
            ClientLoad(account="token shop", name="shop", **load),
            ClientLoad(account="token x", name=HOSTILE[0], **load),
            ClientLoad(address="192.0.2.7", user_agent=HOSTILE[0], **load)
            if viewer.role == "operator"
            else ClientLoad(**load),
        )
        streams = tuple(
            StreamLoad(route="/v1/stream", name=it, **load) for it in ("chat/0000", HOSTILE[0])
        )
        return LoudestList(clients, streams, 0.5)

    async def disconnect(self, body: ReaderIds, viewer: Viewer) -> DisconnectedReaders:
        self.done.append(("disconnect", *body.ids))
        return DisconnectedReaders(len(body.ids))

    def bans(self, viewer: Viewer) -> BanPage:
        shop = Ban(kind="principal", value="token shop", at=NOW - 70, until=NOW + 530, by="ada")
        network = Ban(
            kind="address",
            value="2001:db8:0:7::/64",
            at=NOW - 4000,
            until=NOW + 90_000,
            status=429,
            by=HOSTILE[0],
        )
        return BanPage((shop, network))

    async def ban(self, body: BanWish, viewer: Viewer) -> DisconnectedReaders:
        self.done.append(("ban", body.kind, body.value, f"{body.seconds:.0f}", str(body.status)))
        return DisconnectedReaders(3)

    async def lift(self, query: OfBan, viewer: Viewer) -> None:
        self.done.append(("lift", query.kind, query.value))


def _reader(at: int) -> ReaderRow:
    is_poll = at % 3 == 2
    return ReaderRow(
        id=f"7f3a-{at}",
        route="/v1/stream",
        stream=HOSTILE[0] if at == 3 else f"chat/{at:04}",
        mode="long-poll" if is_poll else "sse",
        status="slow" if at == 0 else "catching up" if at == 1 else "live",
        offset=f"0000000001_{36_024 - at:016}",
        behind=None if at == 4 else 35_000 >> at,
        since=NOW - (at if is_poll else 977 * at),
        sent_bytes=None if is_poll else 91_000_000 >> at,
        principal=("shop", "", "ada@example.com", HOSTILE[0])[at % 4],
        account=("token shop", "", "jwt 5d0a9c", "token x")[at % 4],
        address="2001:db8::7" if at % 2 else "192.0.2.7",
        user_agent=(
            HOSTILE[0] if at == 5 else "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101"
        ),
    )


class MadeUpReloads(ConsoleReloads):
    """Settings of which some differ from those in force, with hostile ones among them."""

    def __init__(self, done: list[tuple[str, ...]]) -> None:
        self.done = done
        self.problems: tuple[str, ...] = ()
        self.refusals: tuple[str, ...] = ()

    async def reload(self, viewer: Viewer) -> ReloadDone:
        self.done.append(("reload",))
        return ReloadDone(("/v1/stream",), ())

    async def pending(self) -> PendingConfiguration:
        file = "/etc/headgate/headgate.toml"
        changes = (
            PendingChange(
                "workers", "", "2", "4", f"{file}:3", "no: restart", bool(self.refusals)
            ),
            PendingChange(
                "live.long_poll_timeout", "", "20", "30", f"{file}:7",
                "yes, for polls that begin then", False,
            ),
            PendingChange(
                "routes[1].origin", "/v1/chat", "redis://:***@redis-0:6379",
                "redis://:***@redis-0:6379 (another one)", f"{file}:31", SET_UP_ANEW, False,
            ),
            PendingChange(
                "routes[2].prefix", PAYLOADS[1], None, PAYLOADS[1], "default", "yes", False,
            ),
            PendingChange("routes[4]", "/v1/old", "/v1/old", None, "", "yes", False),
        )  # fmt: skip
        found = PendingConfiguration(
            read_at=NOW,
            file=file,
            changes=changes[not self.refusals :],
            changes_in_all=1204,
            routes=(
                RoutePlan("/v1/chat", "is set up anew: live reads end after an event"),
                RoutePlan(PAYLOADS[1], "is opened"),
            ),
            refusals=self.refusals,
            files=(
                WatchedFileState("tokens_file", "/etc/headgate/tokens.toml", None),
                WatchedFileState("keys_file", "/etc/headgate/keys.json", "line 3: no JSON"),
            ),
        )
        if self.problems:
            return replace(found, problems=self.problems, changes=(), routes=(), refusals=())
        return found


def made_up_event(number: int, ago: float, **fields: Any) -> ConsoleEvent:
    at = NOW - ago
    return ConsoleEvent(sequence=number, id=number, key=f"{number}", at=at, last_at=at, **fields)


_DOWN = made_up_event(
    3,
    8000,
    kind="origin",
    level="bad",
    sentence="https://origin.example.com is down: cannot be connected to: Connection refused",
)
EVENTS = [
    made_up_event(1, 86_000, kind="server", level="good", sentence="the server has started"),
    made_up_event(
        2,
        9000,
        kind="access",
        level="warning",
        sentence="a sign-in to the console was refused",
        count=1204,
    ),
    replace(_DOWN, last_at=NOW - 7930, ended_at=NOW - 7930),
    made_up_event(
        4,
        3000,
        kind="change",
        level="good",
        sentence="ada: delete chat/0017",
        route="/v1/stream",
    ),
    made_up_event(
        5,
        70,
        kind="worker",
        level="bad",
        sentence=f"worker 2 ended: {HOSTILE[0]}",
        gateway="10.0.0.7:4437/5f6a7b8c9d0e1f2a",
    ),
]


MARKS = (
    EventMark(NOW - 600, "good", "the server has started", "started"),
    EventMark(NOW - 70, "bad", "worker 2 ended: killed by SIGKILL", "worker ended"),
)


class MadeUpDeletion:
    """A deletion that waits for its confirmation."""

    def __init__(self) -> None:
        self.current = Deletion(
            id="waits",
            route="/v1/stream",
            prefix="chat/",
            by="ada",
            at=NOW - 40,
            state="counted",
            streams=48_210,
            size=1_700_000_000,
            sample=(*HOSTILE, "chat/0000"),
            is_cut=True,
        )


class MadeUp(Console):
    """A console whose figures a test may change."""

    def __init__(self) -> None:
        self.streams_scheme = "http"
        self.setup = setup(lambda: NOW)
        self.recorder = Recorder(Switchboard(), setup(lambda: NOW), "here")
        for event in EVENTS:
            self.recorder.events.record.add_shared(event.gateway, [event])
        self.recorder.fleet = MadeUpFleet("here", ())
        for at, refused in ((NOW - 400, 0), (NOW - 200, 50), (NOW, 90)):
            refusals = sample(REFUSALS, refused, "max_feeds")
            self.recorder.alerts.look(at, (refusals, sample(SETTINGS_READ, 0)))
        self.recorder.samples = (sample(SUBSCRIPTIONS, 3, "/v1/stream", "active"),)
        self.load = 1.0
        self.incidents = 1
        self.streams_in_all = 137
        self.trouble: ConsoleError | None = None
        self.measured = True
        self.is_empty = False
        self.done: list[tuple[str, ...]] = []
        self.changes = MadeUpChanges(self.done)
        self.refusals = MadeUpRefusals()
        self.deletion: Any = MadeUpDeletion()
        self.reloads = MadeUpReloads(self.done)
        self.readers = MadeUpReaders(self.done)
        self.credentials = MadeUpCredentials(self.done)
        self.doctor = CdnDoctor(Settings(http={"hosts": ("streams.example.com",)}), lambda: NOW)
        self.doctor.view = replace(
            self.doctor.view,
            url="https://streams.example.com/v1/stream",
            by="ada",
            began_at=NOW - 95,
            findings=FINDINGS,
            requests=136,
            seconds=24.8,
            left=("https://streams.example.com/v1/stream/headgate-doctor-0a1b2c3d4e5f6a7b",),
        )

    @property
    def name(self) -> str:
        return "127.0.0.1:4437"

    @property
    def subscriptions(self) -> MadeUpSubscriptions:
        rows = () if self.is_empty else summaries(NOW, HOSTILE)
        return MadeUpSubscriptions(rows, NOW, self.done)

    async def instance(self) -> Instance:
        state = HealthState("warning", "degraded: origin answers 503")
        return Instance("127.0.0.1:4437", state, 2, "0.1.0", NOW - 86_000, 2, self.incidents)

    async def overview(self, span: Span) -> Overview:
        gap = slice(100, 104)
        earlier, lately = wave(9000, 1500)[:-30], wave(9000, 1500)[-30:]
        requests = (*earlier, *(self.load * value for value in lately))
        ratio: list[float | None] = [v / 100 for v in wave(92, 1.5)]
        ratio[112:120] = [v / 100 for v in wave(82, 0.6, 8)]
        ratio[gap] = [None] * 4
        results = []
        for at, (name, share) in enumerate(SHARES.items()):
            values: list[float | None] = [
                total * share * (1 + 0.05 * math.sin(at * 7 + i * 0.2))
                for i, total in enumerate(requests)
            ]
            values[gap] = [None] * 4
            results.append(Line(name, tuple(values)))
        sse, polls = wave(31_000, 900), wave(16_000, 600, shift=40)
        overview = Overview(
            taken_at=NOW,
            span=span,
            instance=await self.instance(),
            attention=(
                Attention(
                    id="check origin /v1/chat",
                    level="warning",
                    sentence="origin answers 503, stale copies are served for 4 more minutes",
                    route="/v1/chat",
                    since=NOW - 70,
                    alert="HeadgateOriginFailing",
                    window="the last look",
                    next=NextStep(
                        "/routes#%2Fv1%2Fchat", "headgate monitor events --since 1h --kind origin"
                    ),
                    symptoms=(Symptom("The last appends to /v1/chat failed with 5xx.", NOW - 60),),
                ),
                Attention(
                    id="alert HeadgateRequestsRefused max_feeds",
                    level="warning",
                    sentence="This gateway refuses requests beyond the limit max_feeds.",
                    since=NOW - 700,
                    alert="HeadgateRequestsRefused",
                    window="the last 5 minutes",
                    mute=Mute("ada", NOW + 900),
                ),
            ),
            ended=(
                Attention(
                    id="check log /v1/audit",
                    level="bad",
                    sentence="log: connection refused",
                    route="/v1/audit",
                    since=NOW - 1000,
                    ended_at=NOW - 800,
                ),
            ),
            without_origin=Stat(0.934, tuple(v / 100 for v in wave(92, 2))),
            reads=123_456,
            collapse=Stat(1284.0, wave(1200, 120)),
            most_collapsed=5021,
            live_readers=Stat(48_210.0, wave(47_000, 1_500)),
            readers={"sse": 31_904, "long-poll": 16_306},
            delivery_p99=Stat(0.0142, wave(0.013, 0.003), before=0.0098),
            requests=Stat(9_176.0, requests),
            appends=Stat(412.0, wave(400, 30)),
            marks=MARKS,
            by_result=Chart(NOW - 895, STEP_S, tuple(results)),
            ratio=Chart(NOW - 895, STEP_S, (Line("share of reads", tuple(ratio)),)),
            refused=Chart(
                NOW - 895,
                STEP_S,
                tuple(Line(it, wave(3 + at, 2, shift=9 * at)) for at, it in enumerate(REFUSED_BY)),
            ),
            by_transport=Chart(NOW - 895, STEP_S, (Line("SSE", sse), Line("long-poll", polls))),
            delivery=HeatMap(NOW - 895, STEP_S, BOUNDS, tuple(map(_delays, range(POINTS)))),
            routes=await self.routes(),
            writes=_writes(),
            logs=LOGS,
        )
        return overview if self.measured else _unmeasured(overview)

    async def routes(self, span: Span = "15m") -> tuple[RouteView, ...]:
        def figures(requests: float, ratio: float, collapse: float, sse: int) -> RouteFigures:
            readers = {"sse": sse, "long-poll": sse // 2}
            history = wave(requests, requests / 9)
            return RouteFigures(requests, ratio, collapse, readers, requests / 40, 0.0, history)  # type: ignore[arg-type]

        serving = HealthState("good", "serving")
        return (
            RouteView(
                "/v1/stream",
                "redis://redis-0:6379",
                "redis",
                serving,
                ("Answers are fresh for 60 s at the edge.", "Names may have up to 2,048 bytes."),
                figures(6_100, 0.951, 1_902, 27_348),
                {},
                (Server("redis-0:6379", serving),),
            ),
            RouteView(
                "/v1/chat",
                "https://streams.example.com",
                "http",
                HealthState("warning", "origin answers 503"),
                (
                    "Reads are cached, and equal ones are collapsed into one.",
                    "Stale copies are served for 5 min when the origin fails.",
                    "Readers are told apart by Authorization and Cookie.",
                ),
                figures(2_900, 0.88, 640, 4_786),
                {"cache_control": 1_204, "etag": 12},
                (
                    Server("streams-a.example.com:443", serving),
                    Server("streams-b.example.com:443", HealthState("bad", "answers 503")),
                ),
            ),
            RouteView(
                "/v1/audit",
                "file:/var/lib/headgate",
                "file",
                serving,
                ("Reads never leave this machine.",),
                figures(12, 0.417, 1.2, 6),
                {},
            ),
        )

    async def streams(self, query: StreamSearch) -> StreamPage:
        if self.trouble is not None:
            raise self.trouble
        if query.route == "/v1/audit":
            return StreamPage(())
        names = [*HOSTILE, *(f"chat/{n:04d}" for n in range(self.streams_in_all))]
        fits = name_test(query.contains, query.glob) or bool
        found = [name for name in names if name.startswith(query.begins) and fits(name)]
        found = found if self.streams_in_all else []
        first = int(query.after or 0)
        rows = tuple(map(_row, found[first : first + 50]))
        more = str(first + 50) if first + 50 < len(found) else None
        return StreamPage(rows, more, NOW - 12 if query.order != "name" else None)

    @property
    def routes_of_runs(self) -> tuple[str, ...]:
        return ("/v1/stream", "/v1/audit")

    async def runs(self, query: OfRuns) -> RunsView:
        if self.trouble is not None:
            raise self.trouble
        shown = (
            []
            if query.route == "/v1/audit"
            else [*(_run(n, self.load) for n in range(14)), *map(_hostile_run, HOSTILE)]
        )
        found = tuple(run for run in shown if query.status in {None, run.status})
        return RunsView(found, "1:1772366000:chat/0013" if found and not query.after else None)

    async def stream(self, query: OfStream) -> StreamDescription:
        if query.name == "missing":
            raise ConsoleError(404, "there is no such stream; create it with PUT")
        return StreamDescription(
            _row(query.name),
            {"Time to live": "1 h", "Stream-Seq": "00042", "<b>": "'\"><i>\u202e"},
            (
                ProducerRow("writer-1", 3, 1_044),
                ProducerRow("<script>alert(1)</script>", 0, 7),
                ProducerRow("p" * 2000, 1, 1),
            ),
            3,
            {"sse": 31, "long-poll": 12},
        )

    async def messages(self, query: OfMessages) -> Messages:
        place, limit = query.place, query.limit
        offset = "0000000001_0000000000036024"
        if place.offset == "latest":
            place = MessagePlace("0000000001_0000000000031024")
        if query.name.startswith("chat/0001"):
            data = bytes(range(256))
            message = ShownMessage(256, None, data, truncated=False, next_offset=offset)
            return Messages("application/octet-stream", place, (message,), None, offset)
        texts = [*PAYLOADS, *(f'{{"token": "word {n}"}}' for n in range(limit - len(PAYLOADS)))]
        told = tuple(
            ShownMessage(len(text.encode()), text, None, offset=f"0000000001_{30_000 + at:016d}")
            for at, text in enumerate(texts)
        )
        if query.text:
            behind = MessagePlace(offset) if query.text == "some" else None
            fitting = () if query.text == "nothing" else told[:3]
            return Messages("application/json", place, fitting, behind, None, searched=48_210)
        behind = None if place.skip else MessagePlace(place.offset, limit)
        return Messages("application/json", place, told, behind, None if behind else offset)

    def follow(self, stream: OfStream, offset: str) -> AsyncGenerator[Messages]:
        return self._words(offset)

    async def _words(self, offset: str) -> AsyncGenerator[Messages]:
        """Nothing is appended to these streams; a test of a tail has a gateway."""
        await asyncio.Event().wait()
        yield Messages("application/json", MessagePlace(offset), (), None, offset)

    async def explanation(self, body: RequestToExplain) -> Explanation:
        url = body.url
        steps = (
            ExplainStep(
                "Canonical form", url, "Percent-encoding in upper case; the query in order."
            ),
            ExplainStep(
                "Route", "/v1/stream, to redis://redis-0:6379", "The longest prefix that fits."
            ),
            ExplainStep("Shared by", "everybody", "No identity header is sent with it."),
            ExplainStep(
                "Cache key", f"GET {url}", "Method, canonical path and query, and what varies."
            ),
            ExplainStep("Freshness", "fresh for 41 s more", "s-maxage=60, stored 19 s ago."),
            ExplainStep(
                "The next one gets", "the stored answer", "It is fresh (RFC 9111 section 4.2)."
            ),
        )
        return Explanation(steps, "HIT")

    def configuration(self) -> Configuration:
        return Configuration(
            (
                SettingView(
                    "listen", "0.0.0.0:4437", "127.0.0.1:4437", "headgate.toml, line 3",
                    "Address of the listener for streams.", True,
                ),
                SettingView(
                    "routes.0.origin", "redis://:***@redis-0:6379", "file:./headgate-data",
                    "HEADGATE_ORIGIN", "Where the streams live.", True,
                ),
                *(
                    SettingView(
                        f"limit_{n}", f"{n}000", f"{n}000", "default",
                        "How many there may be at once, before a client is told to wait.", False,
                    )
                    for n in range(1, 9)
                ),
            )
        )  # fmt: skip

    def about(self) -> About:
        return About(
            {"headgate": "0.1.0", "python": "3.11.2", "aiohttp": "3.14.5", "sqlite": "3.54.0"},
            {"log in SQLite": "3", "log in Redis": "2"},
            {"open files": "1,024 of 524,288", "memory": "182 MB", "workers": "2"},
        )


def _unmeasured(measured: Shown) -> Shown:
    """Return the same without a figure, as before the first look."""
    nothing: tuple[None, ...] = (None,) * POINTS
    empty: dict[type, Any] = {
        Stat: Stat(None, nothing),
        Chart: Chart(NOW - 895, STEP_S, (Line("hit", nothing),)),
        HeatMap: HeatMap(NOW - 895, STEP_S, BOUNDS, nothing),
        tuple: (),
        dict: {},
        int: 0,
    }
    values = {name: getattr(measured, name) for name in measured.__struct_fields__}
    found = {name: empty.get(type(value), value) for name, value in values.items()}
    if isinstance(measured, Overview):
        found |= {"most_collapsed": None, "writes": _unmeasured(measured.writes)}
    return replace(measured, **found)


def _delays(at: int) -> tuple[float, ...] | None:
    """Most deliveries take some milliseconds; now and then some take long."""
    if 100 <= at < 104:
        return None
    middle = 3.4 + 0.8 * math.sin(at / 20)
    counts = [max(0.0, 4000 * math.exp(-((row - middle) ** 2) / 1.6) - 2) for row in range(14)]
    if at % 37 == 5:
        counts[9] += 12
    return tuple(round(count) for count in counts)


def _run(number: int, load: float) -> RunView:
    endings: tuple[tuple[RunStatus, str | None], ...] = (
        ("finished", None),
        ("failed", "the source failed: RateLimitError"),
        ("stopped", None),
        ("finished", None),
        ("orphaned", "its producer is gone"),
    )
    name = f"chat/{number * 7919:08x}-5d1c-4e7e-9d5a-0c7a4c1f{number:04d}"
    started_at = NOW - 3 - number * 41
    if number < 3:
        items = 0 if number == 1 else 412 * (number + 1)
        first = 0.38 + number / 9 if items else None
        return RunView(
            name,
            "active",
            None,
            started_at,
            NOW - started_at,
            first,
            items,
            61.4 * load if items else None,
        )
    status, error = endings[number % len(endings)]
    seen = number != 7  # of that one, this gateway has seen a part alone
    lasted = None if status == "orphaned" or not seen else 4.2 * number
    first = 0.2 + number / 20 if seen else None
    return RunView(name, status, error, started_at, lasted, first, 180 * number, 43.0)


def _hostile_run(name: str) -> RunView:
    hostile = "</td><img src=x onerror=alert(1)>\u202e" * 5
    answer = AnswerRow(f"/{hostile}", hostile, 1, None)
    return RunView(name, "failed", hostile, NOW, 1, 1, 1, 1, answer)


def _row(name: str) -> StreamRow:
    number = sum(name.encode())
    closed = number % 7 == 0
    return StreamRow(
        name=name,
        content_type="application/octet-stream" if name.endswith("1") else "application/json",
        closed=closed,
        tail=f"0000000001_{number * 977:016d}",
        size=number * 977,
        readers=0 if closed else number % 900,
        rate=0.0 if closed else number % 13 / 2,
        expires_at=NOW + 3 * 3600 if number % 5 == 0 else None,
        forked_from="/v1/stream/chat/0000" if number % 11 == 0 else None,
        created_at=NOW - 50_000,
    )
