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


EXCHANGES = [
    _made(
        "a poll of an origin that is answered at once", Ask(get(f"{S}?offset=-1&live=long-poll"))
    ),
    _made("a poll of an origin without an offset", Ask(get(f"{S}?live=long-poll"))),
    _made("a parked poll of an origin", Send((POLL,)), POLLED, parked(), APPENDS, Answers()),
    _made(
        "a parked poll of an origin with an id",
        Send((get(f"{S}?offset=0001&live=long-poll", "X-Request-Id: mine"),)),
        POLLED,
        parked(),
        APPENDS,
        Answers(),
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
    _made(
        "a parked poll of an origin whose stream is closed",
        Send((POLL,)),
        POLLED,
        parked(),
        CLOSES,
        Answers(),
    ),
    _made(
        "a parked poll of an origin whose stream is gone",
        Send((POLL,)),
        POLLED,
        parked(),
        FAILS,
        Answers(),
    ),
    _made(
        "a parked poll of an origin that the client leaves",
        Send((POLL,)),
        POLLED,
        parked(),
        Leave(),
        parked(0),
    ),
    _made("a poll of an origin that times out", Ask(POLL), stage=IMPATIENT),
    _made(
        "a poll of an origin as the gateway stops",
        Send((POLL,)),
        POLLED,
        parked(),
        Drain(),
        Answers(),
        asks_on=False,
    ),
    _made(
        "a read of a stream that is polled",
        Send((POLL,)),
        POLLED,
        parked(),
        Ask(get(f"{S}?offset=-1"), by="b"),
        APPENDS,
        Answers(),
    ),
    _made(
        "events of an origin from the start",
        Send((get(f"{S}?offset=-1&live=sse"),)),
        Head(),
        Events(CONTROL),
        POLLED,
        APPENDS,
        Events(CONTROL),
        asks_on=False,
    ),
    _made(
        "events of an origin from the tail",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        POLLED,
        APPENDS,
        Events(CONTROL),
        asks_on=False,
    ),
    _made(
        "events of an origin behind Last-Event-ID",
        Send((get(f"{S}?offset=-1&live=sse", "Last-Event-ID: 0001"),)),
        Head(),
        Events(CONTROL),
        asks_on=False,
    ),
    _made(
        "events of an origin whose stream is closed",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        POLLED,
        CLOSES,
        EventsEnd(),
    ),
    _made(
        "events of an origin that the client leaves",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        POLLED,
        Leave(),
        parked(0),
    ),
    _made(
        "events of an origin as the gateway stops",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        POLLED,
        Drain(),
        EventsEnd(),
        Rest(),
        asks_on=False,
    ),
]
