"""Long-polls and events of a stream at an HTTP origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import answer
from tests.support.serving import EDGE, get
from tests.web.corpus.exchange import Exchange, Stage, Step
from tests.web.corpus.stages import ORIGIN
from tests.web.corpus.steps import (
    Answers,
    Ask,
    Do,
    Drain,
    Events,
    EventsEnd,
    Head,
    Leave,
    Rest,
    Send,
    Until,
    parked,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.web.corpus.player import Player

LIVE = Stage("live", {}, ORIGIN.options, pieces=(b"one",))
IMPATIENT = LIVE.but(long_poll_timeout=0.3)
S = f"{EDGE}/s"
POLL = get(f"{S}?offset=0001&live=long-poll")
EVENTS = get(f"{S}?offset=0001&live=sse")
CONTROL = b"}\n\n"


def _origin(player: Player) -> LiveOrigin:
    origin = player.gateway.origin
    assert isinstance(origin, LiveOrigin)
    return origin


def _does(what: str, deed: Callable[[LiveOrigin], None]) -> Do:
    return Do(what, lambda player: deed(_origin(player)))


APPENDS = _does("the origin's stream grows", lambda origin: origin.append(b"two"))
CLOSES = _does("the origin's stream is closed", lambda origin: origin.close_stream())
POLLED = Until("the origin is polled", lambda player: _origin(player).waiting > 0)


def _failing(origin: LiveOrigin) -> None:
    origin.instead = answer(status="404 Not Found")
    origin.tell()


FAILS = _does("the origin's stream is gone", _failing)


def _made(name: str, *steps: Step, stage: Stage = LIVE, asks_on: bool = True) -> Exchange:
    return Exchange(name, stage, steps, asks_on=asks_on)


def _parked(name: str, *then: Step, poll: bytes = POLL, asks_on: bool = True) -> Exchange:
    return _made(name, Send((poll,)), POLLED, parked(), *then, asks_on=asks_on)


def _events(name: str, *then: Step, sent: bytes = EVENTS, asks_on: bool = False) -> Exchange:
    return _made(name, Send((sent,)), Head(), Events(CONTROL), *then, asks_on=asks_on)


EXCHANGES = [
    _made(
        "a poll of an origin that is answered at once", Ask(get(f"{S}?offset=-1&live=long-poll"))
    ),
    _made("a poll of an origin without an offset", Ask(get(f"{S}?live=long-poll"))),
    _parked("a parked poll of an origin", APPENDS, Answers()),
    _parked(
        "a parked poll of an origin with an id",
        APPENDS,
        Answers(),
        poll=get(f"{S}?offset=0001&live=long-poll", "X-Request-Id: mine"),
    ),
    _made(
        "two parked polls of an origin",
        Send((POLL,)),
        POLLED,
        Send((POLL,), by="b"),
        parked(2),
        APPENDS,
        Answers(),
        Answers(by="b"),
    ),
    _parked("a parked poll of an origin whose stream is closed", CLOSES, Answers()),
    _parked("a parked poll of an origin whose stream is gone", FAILS, Answers()),
    _parked("a parked poll of an origin that the client leaves", Leave(), parked(0)),
    _made("a poll of an origin that times out", Ask(POLL), stage=IMPATIENT),
    _parked("a poll of an origin as the gateway stops", Drain(), Answers(), asks_on=False),
    _parked(
        "a read of a stream that is polled",
        Ask(get(f"{S}?offset=-1"), by="b"),
        APPENDS,
        Answers(),
    ),
    _events(
        "events of an origin from the start",
        POLLED,
        APPENDS,
        Events(CONTROL),
        sent=get(f"{S}?offset=-1&live=sse"),
    ),
    _events("events of an origin from the tail", POLLED, APPENDS, Events(CONTROL)),
    _events(
        "events of an origin behind Last-Event-ID",
        sent=get(f"{S}?offset=-1&live=sse", "Last-Event-ID: 0001"),
    ),
    _events(
        "events of an origin whose stream is closed", POLLED, CLOSES, EventsEnd(), asks_on=True
    ),
    _events("events of an origin that the client leaves", POLLED, Leave(), parked(0), asks_on=True),
    _events("events of an origin as the gateway stops", POLLED, Drain(), EventsEnd(), Rest()),
]
