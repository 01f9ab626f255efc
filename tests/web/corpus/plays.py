"""Plays an exchange on a gateway of its own, and says what could be seen of it."""

from __future__ import annotations

import logging
import sys
from functools import _lru_cache_wrapper, cache
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway.telemetry.logs import NAME
from tests.support.live_origin import LiveOrigin
from tests.support.log_level import kept_level
from tests.support.log_lines import Lines, capture_logs
from tests.support.serving import get
from tests.support.waiting import until
from tests.web.corpus.gateway import SpanNames, staged
from tests.web.corpus.masks import Masks, body_of, lines_of
from tests.web.corpus.player import PROBE, Player

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.web.corpus.exchange import Exchange, Stage
    from tests.web.corpus.gateway import CorpusGateway, Figures
    from tests.web.corpus.seen import Seen

TRACER = SpanNames()


class Mode(NamedTuple):
    """How a gateway is set up, and whether the steps are played there a second time.

    What it shows is compared with the mode `base`; what is seen of the steps when they are played
    `again` with what was seen in the mode `first`.
    """

    name: str
    base: str | None
    is_logged: bool = False
    is_traced: bool = False
    first: str | None = None


QUIET = Mode("quiet", None)
LOGGED = Mode("logged", QUIET.name, is_logged=True)
TRACED = Mode("traced", QUIET.name, is_traced=True)
AGAIN = Mode("again", QUIET.name, first=QUIET.name)
LOGGED_AGAIN = LOGGED._replace(name="logged, again", base=AGAIN.name, first=LOGGED.name)
TRACED_AGAIN = TRACED._replace(name="traced, again", base=AGAIN.name, first=TRACED.name)
MODES = (QUIET, LOGGED, TRACED, AGAIN, LOGGED_AGAIN, TRACED_AGAIN)


async def play(exchange: Exchange, mode: Mode, probed: Figures) -> Seen:
    """Return all that could be seen; what the last question of `asks_on` counts is left out.

    Nothing is remembered from earlier plays.
    """
    for memo in _memos():
        memo.cache_clear()
    with kept_level(NAME) as logger, capture_logs() as logged:
        logger.setLevel(logging.INFO)
        return await _play(exchange, mode, probed, logged)


@cache
def _memos() -> list[_lru_cache_wrapper[Any]]:
    """Return the memos of the gateway's modules that drop what is old."""
    values = {
        value
        for name, module in sys.modules.items()
        if name.startswith("headgate_gateway.")
        for value in vars(module).values()
        if isinstance(value, _lru_cache_wrapper)
    }
    return [memo for memo in values if memo.cache_parameters()["maxsize"] is not None]


async def _play(
    exchange: Exchange,
    mode: Mode,
    probed: Figures,
    logged: Lines,
) -> Seen:
    tracer = TRACER if mode.is_traced else None
    async with staged(exchange.stage, is_logged=mode.is_logged, tracer=tracer) as gateway:
        player = Player(gateway)
        await _prepare(player, exchange)
        await player.settle()
        before = _figures_before(gateway, exchange, mode)
        scripts = [] if gateway.origin is None else gateway.origin.scripts
        await _play_steps(player, exchange, logged)
        if mode.first is not None:
            await player.begin_again(asks_on=exchange.asks_on)
            if gateway.origin is not None:
                gateway.origin.scripts = scripts
            await _play_steps(player, exchange, logged)
        is_on = exchange.asks_on and await player.asks_on()
        await player.settle()
        after = gateway.figures()
        if is_on:
            after = {name: value - probed.get(name, 0.0) for name, value in after.items()}
        seen, masks = player.seen, player.masks
        seen.heard = _heard(player)
        seen.counted = {masks(name): change for name, change in _counted(before, after).items()}
        seen.logged = _logged(masks, logged)
        seen.spans = _traced(masks) if mode.is_traced else []
        return seen


async def _play_steps(player: Player, exchange: Exchange, logged: Lines) -> None:
    gateway = player.gateway
    gateway.origin_bodies.clear()
    if gateway.origin is not None:
        gateway.origin.heard.clear()
    TRACER.ended.clear()
    logged.clear()
    for step in exchange.steps:
        gateway.trust_the_origin()
        await step.play(player)


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


def _heard(player: Player) -> list[tuple[list[str], list[str]]]:
    """Return what a scripted origin was asked; who polls goes on when it is too late to look."""
    origin = player.gateway.origin
    if origin is None or isinstance(origin, LiveOrigin):
        return []
    return [
        ([player.masks(line) for line in lines_of(one.head)[:-1]], body_of(body))
        for one, body in zip(origin.heard, player.gateway.origin_bodies, strict=True)
    ]


# How large Python's objects are, when a timer came, and which connections the play before has left.
_OF_THE_MACHINE = (
    "headgate_cache_bytes",
    "headgate_event_loop_lag_seconds",
    "headgate_server_connections",
)


def _counted(before: Figures, after: Figures) -> dict[str, float]:
    counted = {}
    for (metric, values), value in after.items():
        change = value - before.get((metric, values), 0.0)
        if not change or metric.name in _OF_THE_MACHINE:
            continue
        labels = ",".join(
            f'{name}="{text}"' for name, text in zip(metric.labels, values, strict=True)
        )
        counted[f"{metric.name}{{{labels}}}" if labels else metric.name] = change
    return counted


def _logged(masks: Masks, logged: Sequence[Mapping[str, object]]) -> list[dict[str, str]]:
    return [
        {name: masks(repr(value)) for name, value in line.items() if name not in _OF_THE_MOMENT}
        for line in logged
        if line.get("path") != PROBE
    ]


_OF_THE_MOMENT = {"duration_us", "log_level", "level"}


def _traced(masks: Masks) -> list[str]:
    spans = []
    for span in TRACER.ended:
        attributes = dict(span.attributes or {})
        if attributes.get("url.path") == PROBE:
            continue
        shown = {
            name: value
            for name, value in sorted(attributes.items())
            if name in {"http.response.status_code", "error.type", "headgate.waits"}
        }
        spans.append(masks(f"{span.kind.name.lower()} {span.name} {shown or ''}".rstrip()))
    return spans
