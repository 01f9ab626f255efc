"""Long-polls and events of an own log."""

from __future__ import annotations

from tests.support.serving import get, offset, post, put, request
from tests.web.corpus.exchange import Exchange, Given, Stage, Step
from tests.web.corpus.stages import OWN_LOG
from tests.web.corpus.steps import (
    Answers,
    Ask,
    Drain,
    Events,
    EventsEnd,
    Head,
    Leave,
    Rest,
    Send,
    parked,
)

S = Given(put("s", body=b"one"))
CLOSED = Given(put("closed", "Stream-Closed: true", body=b"end"))
JSON = Given(put("json", body=b"[1]", content_type="application/json"))
TAIL = offset(3)
IMPATIENT = OWN_LOG.but(long_poll_timeout=0.05)
POLL = get(f"s?live=long-poll&offset={TAIL}")
EVENTS = get(f"s?live=sse&offset={TAIL}")
NEWS = Ask(post("s", b"!"), by="w")
CONTROL = b"}\n\n"


def _made(
    name: str,
    *steps: bytes | Step,
    stage: Stage = OWN_LOG,
    asks_on: bool = True,
    is_once: bool = False,
) -> Exchange:
    made = [Ask(step) if isinstance(step, bytes) else step for step in steps]
    return Exchange(name, stage, made, (S, CLOSED, JSON), asks_on=asks_on, is_once=is_once)


POLLS = [
    _made("a poll that is answered at once", get("s?offset=-1&live=long-poll")),
    _made("a poll that is answered at once, twice", *[get("s?offset=-1&live=long-poll")] * 2),
    _made("a poll with a cursor", get("s?offset=-1&live=long-poll&cursor=7")),
    _made("a poll with a later cursor", get("s?offset=-1&live=long-poll&cursor=999999999")),
    _made("a poll with a bad cursor", get("s?offset=-1&live=long-poll&cursor=x")),
    _made("a poll without an offset", get("s?live=long-poll")),
    _made("a poll from a bad offset", get("s?live=long-poll&offset=bad")),
    _made(
        "a poll from behind the tail", get(f"s?live=long-poll&offset={offset(9)}"), stage=IMPATIENT
    ),
    _made("a poll of no stream", get("nothing?offset=-1&live=long-poll")),
    _made("a poll of a closed stream", get("closed?offset=-1&live=long-poll")),
    _made("a poll of a closed stream's tail", get(f"closed?offset={TAIL}&live=long-poll")),
    _made("a HEAD of a poll", request("HEAD", f"s?live=long-poll&offset={TAIL}")),
    _made("a parked poll", Send((POLL,)), parked(), NEWS, Answers()),
    _made(
        "a parked poll from now",
        Send((get("s?offset=now&live=long-poll"),)),
        parked(),
        NEWS,
        Answers(),
    ),
    _made(
        "a parked poll of JSON",
        Send((get("json?offset=now&live=long-poll"),)),
        parked(),
        Ask(post("json", b"[2,3]", content_type="application/json"), by="w"),
        Answers(),
    ),
    _made(
        "a parked poll that is asked again",
        Send((POLL,)),
        parked(),
        NEWS,
        Answers(),
        Send((get(f"s?live=long-poll&offset={offset(4)}"),)),
        parked(),
        Ask(post("s", b"?"), by="w"),
        Answers(),
    ),
    _made(
        "two parked polls",
        Send((POLL,)),
        Send((POLL,), by="b"),
        parked(2),
        NEWS,
        Answers(),
        Answers(by="b"),
    ),
    _made(
        "a parked poll with an id",
        Send((get(f"s?live=long-poll&offset={TAIL}", "X-Request-Id: mine"),)),
        parked(),
        NEWS,
        Answers(),
    ),
    _made(
        "a parked poll with a tag",
        Send((get(f"s?live=long-poll&offset={TAIL}", 'If-None-Match: "x"'),)),
        parked(),
        NEWS,
        Answers(),
    ),
    _made(
        "a parked poll, Connection: close",
        Send((get(f"s?live=long-poll&offset={TAIL}", "Connection: close"),)),
        parked(),
        NEWS,
        Answers(),
    ),
    _made(
        "a parked poll by HTTP/1.0",
        Send((request("GET", f"s?live=long-poll&offset={TAIL}", version="1.0"),)),
        parked(),
        NEWS,
        Answers(),
    ),
    _made(
        "a parked poll whose stream is closed",
        Send((POLL,)),
        parked(),
        Ask(post("s", b"", "Stream-Closed: true"), by="w"),
        Answers(),
    ),
    _made(
        "a parked poll whose stream is closed with data",
        Send((POLL,)),
        parked(),
        Ask(post("s", b"end", "Stream-Closed: true"), by="w"),
        Answers(),
    ),
    _made(
        "a parked poll whose stream is deleted",
        Send((POLL,)),
        parked(),
        Ask(request("DELETE", "s"), by="w"),
        Answers(),
    ),
    _made("a parked poll that the client leaves", Send((POLL,)), parked(), Leave(), parked(0)),
    _made("a poll that times out", POLL, stage=IMPATIENT),
    _made("a poll from now that times out", get("s?offset=now&live=long-poll"), stage=IMPATIENT),
    _made("a poll that times out, twice", POLL, POLL, stage=IMPATIENT),
    _made(
        "a poll that times out by HTTP/1.0",
        request("GET", f"s?live=long-poll&offset={TAIL}", version="1.0"),
        stage=IMPATIENT,
    ),
    _made(
        "a poll that is parked as the gateway stops",
        Send((POLL,)),
        parked(),
        Drain(),
        Answers(),
        asks_on=False,
    ),
    _made("a poll as the gateway stops", request("HEAD", "s"), Drain(), POLL, asks_on=False),
    _made(
        "a read as the gateway stops",
        get("s?offset=-1"),
        Drain(),
        get("s?offset=-1"),
        asks_on=False,
    ),
    _made(
        "an append as the gateway stops", post("s", b"x"), Drain(), post("s", b"x"), asks_on=False
    ),
    _made(
        "a poll above the bound of live readers",
        Send((POLL,)),
        parked(),
        Ask(POLL, by="b"),
        NEWS,
        Answers(),
        stage=OWN_LOG.but(max_live_readers=1),
    ),
]

SSE = [
    _made(
        "events from the start",
        Send((get("s?offset=-1&live=sse"),)),
        Head(),
        Events(CONTROL),
        NEWS,
        Events(CONTROL),
        asks_on=False,
    ),
    _made(
        "events from now",
        Send((get("s?offset=now&live=sse"),)),
        Head(),
        Events(CONTROL),
        NEWS,
        Events(CONTROL),
        asks_on=False,
    ),
    _made(
        "events from the tail",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        NEWS,
        Events(CONTROL),
        asks_on=False,
    ),
    _made(
        "events of JSON",
        Send((get("json?offset=-1&live=sse"),)),
        Head(),
        Events(CONTROL),
        asks_on=False,
    ),
    _made(
        "events behind Last-Event-ID",
        Send((get("s?offset=-1&live=sse", f"Last-Event-ID: {TAIL}"),)),
        Head(),
        Events(CONTROL),
        asks_on=False,
    ),
    _made("events behind a bad Last-Event-ID", get("s?offset=-1&live=sse", "Last-Event-ID: bad")),
    _made(
        "events behind an empty Last-Event-ID",
        Send((get("s?offset=-1&live=sse", "Last-Event-ID:"),)),
        Head(),
        Events(CONTROL),
        asks_on=False,
    ),
    _made(
        "events with an id",
        Send((get("s?offset=-1&live=sse", "X-Request-Id: mine"),)),
        Head(),
        Events(CONTROL),
        asks_on=False,
    ),
    _made("events without an offset", get("s?live=sse"), asks_on=False),
    _made("events of no stream", get("nothing?offset=-1&live=sse")),
    _made("events from a bad offset", get("s?offset=bad&live=sse")),
    _made("events of a closed stream", get("closed?offset=-1&live=sse")),
    _made("events of a closed stream's tail", get(f"closed?offset={TAIL}&live=sse")),
    _made(
        "events of a stream that is closed",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        Ask(post("s", b"", "Stream-Closed: true"), by="w"),
        EventsEnd(),
    ),
    _made(
        "events of a stream that is deleted",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        Ask(request("DELETE", "s"), by="w"),
        EventsEnd(),
        is_once=True,
    ),
    _made(
        "events that the client leaves",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        Leave(),
        parked(0),
    ),
    _made(
        "events by HTTP/1.0",
        Send((request("GET", "closed?offset=-1&live=sse", version="1.0"),)),
        Answers(),
    ),
    _made("events, Connection: close", get("closed?offset=-1&live=sse", "Connection: close")),
    _made(
        "events as the gateway stops",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        Drain(),
        EventsEnd(),
        Rest(),
        asks_on=False,
    ),
    _made(
        "events that are asked for as the gateway stops",
        request("HEAD", "s"),
        Drain(),
        EVENTS,
        asks_on=False,
    ),
    _made(
        "events that last as long as they may",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        EventsEnd(),
        stage=OWN_LOG.but(sse_max_age=0.1),
    ),
    _made(
        "events with a heartbeat",
        Send((EVENTS,)),
        Head(),
        Events(CONTROL),
        Events(b":\n"),
        asks_on=False,
        stage=OWN_LOG.but(heartbeat=0.1),
    ),
    _made("a HEAD of events", request("HEAD", "s?offset=-1&live=sse")),
    _made(
        "events above the bound of live readers",
        Send((POLL,)),
        parked(),
        Ask(EVENTS, by="b"),
        NEWS,
        Answers(),
        stage=OWN_LOG.but(max_live_readers=1),
    ),
]

EXCHANGES = [*POLLS, *SSE]
