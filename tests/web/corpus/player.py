"""Plays an exchange on a gateway of its own, and says what could be seen of it."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from structlog.testing import capture_logs

from gateway.telemetry.logs import NAME
from tests.support.http1 import BODYLESS, Client, ConnectionEnded, read_chunk
from tests.support.live_origin import LiveOrigin
from tests.support.log_level import kept_level
from tests.support.serving import get
from tests.support.waiting import until
from tests.web.corpus.gateway import SpanNames, staged
from tests.web.corpus.masks import Masks, body_of, lines_of

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from tests.support.http1 import Answer
    from tests.web.corpus.exchange import Exchange, Stage
    from tests.web.corpus.gateway import CorpusGateway, Figures

FORCE = b"X-Request-Id:a\r\n"  # without the usual blank: no short way takes such a request
MAIN = "a"  # the connection of most exchanges
PROBE = "/asks-on"
TRACER = SpanNames()
TURNS = 12  # of the loop: what was written on one end has been read on the other by then


class Mode(NamedTuple):
    """How a gateway is set up, and which way the requests go; `base` it is compared with."""

    name: str
    base: str | None
    is_logged: bool = False
    is_traced: bool = False
    is_forced: bool = False


QUIET = Mode("quiet", None)
LOGGED = Mode("logged", QUIET.name, is_logged=True)
TRACED = Mode("traced", QUIET.name, is_traced=True)
ORDINARY, *OTHERS = (
    mode._replace(name=f"{mode.name}, ordinary way", base=mode.name, is_forced=True)
    for mode in (QUIET, LOGGED, TRACED)
)
MODES = (QUIET, LOGGED, TRACED, ORDINARY, *OTHERS)


class Player:
    """One play of an exchange."""

    def __init__(self, gateway: CorpusGateway, *, is_forced: bool) -> None:
        self.gateway = gateway
        self.is_forced = is_forced
        self.noted: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._clients: dict[str, Client] = {}
        self._unanswered: dict[str, list[str]] = {}
        self._ended: set[str] = set()
        instance = gateway.shared.lines._instance
        ports = {gateway.port: "port"}
        if gateway.origin is not None:
            ports[gateway.origin.port] = "origin"
        self.tag = b""  # what replaces {etag}
        self.masks = Masks(ports=ports, instance=instance)

    def note(self, by: str, mark: str, lines: Sequence[str]) -> None:
        """Add lines of what a connection sent or got."""
        mark = mark if by == MAIN else f"{by}{mark}"
        self.noted += [f"{mark} {self.masks(line)}".rstrip() for line in lines]

    def say(self, text: str) -> None:
        """Add a line of what happens."""
        self.noted.append(f"({text})")

    async def client(self, by: str) -> Client:
        """Return a connection, which is accepted before it says anything."""
        if by not in self._clients:
            before = self.gateway.limits.connections
            self._clients[by] = await self.gateway.connect()
            await until(lambda: self.gateway.limits.connections > before)
        return self._clients[by]

    async def send(self, data: bytes, methods: Sequence[str], by: str, *, early: bool) -> None:
        """Send bytes, `early` as the first of a connection that is not accepted yet."""
        self._unanswered.setdefault(by, []).extend(methods)
        if not early:
            (await self.client(by)).send(data)
            return
        wire = socket.create_connection(("127.0.0.1", self.gateway.port))
        assert wire.send(data) == len(data)
        wire.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=wire)
        self._clients[by] = Client(reader, writer)
        self.gateway._clients.append(self._clients[by])

    async def turns(self) -> None:
        """Let whatever was sent arrive."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def answer(self, by: str, *, leaves: bool = False) -> None:
        """Take the next answer, with what comes before it."""
        client = await self.client(by)
        try:
            head = await client.head()
            while head.status == 100:
                self.note(by, "<", lines_of(head.wire)[:-1])
                head = await client.head()
        except EOFError as error:
            self._ended.add(by)
            self.note(by, "<", lines_of(getattr(error, "partial", b"")))
            self.note(by, "<", ["<the connection ends>"])
            return
        unanswered = self._unanswered[by]
        method = unanswered.pop(0) if unanswered else "GET"
        self.note(by, "<", lines_of(head.wire)[:-1])
        if method != "HEAD" and head.status not in BODYLESS:
            await self._body(client, head, by)
        if leaves:
            self.say(f"{by} leaves")
            self.leave(by)
        elif _is_last(head):
            await self.rest(by)

    async def _body(self, client: Client, head: Answer, by: str) -> None:
        body, end = b"", ""
        try:
            if "chunked" in head.headers.get("transfer-encoding", ""):
                while chunk := await client._read(read_chunk()):
                    body += chunk
                end = "<chunks end>"
            elif head.get("content-length") is None:
                body = await client.rest()
                self._ended.add(by)
            else:
                body = await client._take(int(head.get("content-length") or 0))
        except (EOFError, ConnectionEnded, ConnectionError) as error:
            body += getattr(error, "partial", b"")
            end = "<cut>"
            self._ended.add(by)
        self.note(by, "|", [*body_of(body), *([end] if end else [])])

    async def rest(self, by: str = MAIN) -> None:
        """Take what comes until the connection ends."""
        if by in self._ended:
            return
        client = await self.client(by)
        try:
            rest = await client.rest()
            self.note(
                by,
                "<",
                [*lines_of(rest), "<the connection ends>"] if rest else ["<the connection ends>"],
            )
        except ConnectionError:
            self.note(by, "<", ["<the connection is reset>"])
        self._ended.add(by)

    async def events(self, by: str, end: bytes) -> None:
        """Take more events until their bytes end so."""
        client = await self.client(by)
        seen = len(client.received)
        client._events += await client.chunk()
        await client.event_bytes_until(end)
        self.note(by, "|", body_of(client.received[seen:]))

    async def events_to_the_end(self, by: str) -> None:
        """Take events until the answer is over."""
        client = await self.client(by)
        seen = len(client.received)
        await client.events_to_the_end()
        self.note(by, "|", [*body_of(client._events[seen:]), "<chunks end>"])

    def leave(self, by: str) -> None:
        """Break a connection."""
        self._clients[by].abort()
        self._ended.add(by)

    async def finish(self, by: str) -> None:
        """Send no more on a connection, and listen on."""
        (await self.client(by))._writer.write_eof()

    async def asks_on(self) -> bool:
        """Ask once more on the connection, and return whether that was answered."""
        if MAIN in self._ended or MAIN not in self._clients:
            return False
        client = self._clients[MAIN]
        client.send(get(PROBE))
        try:
            probe = await client.answer()
        except (EOFError, ConnectionError) as error:
            self.note(MAIN, "<", lines_of(getattr(error, "partial", b"")))
            self.note(MAIN, "<", ["<the connection ends>"])
            return False
        assert probe.status in {404, 421}, probe
        self.say("the connection goes on")
        return True

    async def settle(self) -> None:
        """Let every client go, and wait until the gateway knows."""
        for task in self.tasks:
            await task
        gateway = self.gateway
        for client in self._clients.values():
            client.close()
        await until(
            lambda: (
                gateway.limits.connections == 0
                and gateway.limits.live_readers == 0
                and gateway.is_settled()
            )
        )
        await self.turns()


async def play(exchange: Exchange, mode: Mode, probed: Figures) -> list[str]:
    """Return all that could be seen; what the last question of `asks_on` counts is left out."""
    with kept_level(NAME) as logger, capture_logs() as logged:
        logger.setLevel(logging.INFO)
        return await _play(exchange, mode, probed, logged)


async def _play(
    exchange: Exchange,
    mode: Mode,
    probed: Figures,
    logged: list[MutableMapping[str, Any]],
) -> list[str]:
    tracer = TRACER if mode.is_traced else None
    async with staged(exchange.stage, is_logged=mode.is_logged, tracer=tracer) as gateway:
        player = Player(gateway, is_forced=mode.is_forced)
        await _prepare(player, exchange)
        await player.settle()
        before = _figures_before(gateway, exchange, mode)
        gateway.origin_bodies.clear()
        heard_before = 0 if gateway.origin is None else len(gateway.origin.heard)
        if tracer is not None:
            tracer.ended.clear()
        logged.clear()
        for step in exchange.steps:
            gateway.trust_the_origin()
            await step.play(player)
        is_on = exchange.asks_on and await player.asks_on()
        await player.settle()
        after = gateway.figures()
        if is_on:
            after = {name: value - probed.get(name, 0.0) for name, value in after.items()}
        return [
            *player.noted,
            *_heard(player, heard_before),
            *_counted(before, after),
            *_logged(player.masks, logged),
            *([] if tracer is None else _traced(player.masks, tracer)),
        ]


def _figures_before(gateway: CorpusGateway, exchange: Exchange, mode: Mode) -> Figures:
    """Return what is counted of the preparation, as of the first that was the same.

    Where there is an origin, some of it has the name of its port.
    """
    if gateway.edges:
        return gateway.figures()
    key = (id(exchange.stage), tuple(exchange.given), mode.is_logged, mode.is_traced)
    if key not in _BEFORE:
        _BEFORE[key] = gateway.figures()
    return _BEFORE[key]


# Stages are those of modules: none is ever at the place of another.
_BEFORE: dict[object, Figures] = {}


async def _prepare(player: Player, exchange: Exchange) -> None:
    gateway, client = player.gateway, None
    for given in exchange.given:
        if given.origin is not None:
            gateway.origin_plays(given.origin)
        gateway.trust_the_origin()
        client = client or await gateway.connect()
        answer = await client.ask(given.request)
        assert answer.status < 400, answer
        player.tag = (answer.get("ETag") or "").encode() or player.tag
        if answer.get("Connection") == "close":
            client = None
        if given.forgets:
            gateway.store.clear()
    if client is not None:
        client.close()


async def cost_of_asking_on(stage: Stage, mode: Mode) -> Figures:
    """Return what is counted of the last question of `asks_on`."""
    tracer = TRACER if mode.is_traced else None
    with capture_logs():
        async with staged(stage, is_logged=mode.is_logged, tracer=tracer) as gateway:
            await until(lambda: gateway.limits.connections == 0)
            before = gateway.figures()
            await gateway.ask(get(PROBE))
            await until(lambda: gateway.limits.connections == 0)
            return {
                name: value - before.get(name, 0.0) for name, value in gateway.figures().items()
            }


def _is_last(head: Answer) -> bool:
    told = (head.headers.get("connection") or "").lower()
    return told == "close" or (head.version == "HTTP/1.0" and told != "keep-alive")


def _heard(player: Player, since: int) -> list[str]:
    """Return what a scripted origin was asked; who polls goes on when it is too late to look."""
    origin, lines = player.gateway.origin, []
    if origin is None or isinstance(origin, LiveOrigin):
        return []
    for one, body in zip(origin.heard[since:], player.gateway.origin_bodies, strict=True):
        told = [line for line in lines_of(one.head)[:-1] if line.lower() != "x-request-id: a"]
        lines += [f"origin> {player.masks(line)}".rstrip() for line in told]
        lines += [f"origin| {line}" for line in body_of(body)]
    return lines


# How large Python's objects are, and when a timer came.
_OF_THE_MACHINE = ("headgate_cache_bytes", "headgate_event_loop_lag_seconds")


def _counted(before: Figures, after: Figures) -> list[str]:
    lines = []
    for (metric, values), value in after.items():
        change = value - before.get((metric, values), 0.0)
        if not change or metric.name in _OF_THE_MACHINE:
            continue
        labels = ",".join(
            f'{name}="{text}"' for name, text in zip(metric.labels, values, strict=True)
        )
        name = f"{metric.name}{{{labels}}}" if labels else metric.name
        times = " observations" if metric.kind == "histogram" else ""
        lines.append(f"count {name} {change:+g}{times}")
    return sorted(lines)


def _logged(masks: Masks, logged: Sequence[Mapping[str, object]]) -> list[str]:
    lines = []
    for line in logged:
        if line.get("path") == PROBE:
            continue
        told = [f"{name}={value!r}" for name, value in line.items() if name not in _OF_THE_MOMENT]
        lines.append(f"log {masks(' '.join(told))}")
    return lines


_OF_THE_MOMENT = {"duration_us", "log_level", "level"}


def _traced(masks: Masks, tracer: SpanNames) -> list[str]:
    lines = []
    for span in tracer.ended:
        attributes = dict(span.attributes or {})
        if attributes.get("url.path") == PROBE:
            continue
        told = {
            name: value
            for name, value in sorted(attributes.items())
            if name in {"http.response.status_code", "error.type", "headgate.waits"}
        }
        lines.append(masks(f"span {span.kind.name.lower()} {span.name} {told or ''}".rstrip()))
    return sorted(lines)


def forced(data: bytes) -> bytes:
    """Return a request with the line that forces it to go the ordinary way."""
    line, end, rest = data.partition(b"\r\n")
    is_plain = bool(line and end) and b"\r\nx-request-id" not in data.lower()
    return line + end + FORCE + rest if is_plain else data
