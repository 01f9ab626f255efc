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
ONE_READER = OWN_LOG.but(max_live_readers=1)
POLL_AT = "s?live=long-poll&offset={}"
POLL = get(POLL_AT.format(TAIL))
OLD_POLL = request("GET", POLL_AT.format(TAIL), version="1.0")
START = "s?offset=-1&live=sse"
READ, APPEND = get("s?offset=-1"), post("s", b"x")
CLOSING = post("s", b"", "Stream-Closed: true")
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


def _parked(name: str, poll: bytes = POLL, then: Step = NEWS) -> Exchange:
    return _made(name, Send((poll,)), parked(), then, Answers())


def _events(
    name: str,
    sent: bytes = EVENTS,
    *steps: Step,
    stage: Stage = OWN_LOG,
    asks_on: bool = False,
    is_once: bool = False,
) -> Exchange:
    begin = (Send((sent,)), Head(), Events(CONTROL))
    return _made(name, *begin, *steps, stage=stage, asks_on=asks_on, is_once=is_once)


def _by_w(data: bytes) -> Ask:
    return Ask(data, by="w")


POLLS = [
    _made("a poll that is answered at once", get("s?offset=-1&live=long-poll")),
    _made("a poll that is answered at once, twice", *[get("s?offset=-1&live=long-poll")] * 2),
    _made("a poll with a cursor", get("s?offset=-1&live=long-poll&cursor=7")),
    _made("a poll with a later cursor", get("s?offset=-1&live=long-poll&cursor=999999999")),
    _made("a poll with a bad cursor", get("s?offset=-1&live=long-poll&cursor=x")),
    _made("a poll without an offset", get("s?live=long-poll")),
    _made("a poll from a bad offset", get("s?live=long-poll&offset=bad")),
    _made("a poll from behind the tail", get(POLL_AT.format(offset(9))), stage=IMPATIENT),
    _made("a poll of no stream", get("nothing?offset=-1&live=long-poll")),
    _made("a poll of a closed stream", get("closed?offset=-1&live=long-poll")),
    _made("a poll of a closed stream's tail", get(f"closed?offset={TAIL}&live=long-poll")),
    _made("a HEAD of a poll", request("HEAD", POLL_AT.format(TAIL))),
    _parked("a parked poll"),
    _parked("a parked poll from now", get("s?offset=now&live=long-poll")),
    _parked(
        "a parked poll of JSON",
        get("json?offset=now&live=long-poll"),
        _by_w(post("json", b"[2,3]", content_type="application/json")),
    ),
    _made(
        "a parked poll that is asked again",
        Send((POLL,)),
        parked(),
        NEWS,
        Answers(),
        Send((get(POLL_AT.format(offset(4))),)),
        parked(),
        _by_w(post("s", b"?")),
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
    _parked("a parked poll with an id", get(POLL_AT.format(TAIL), "X-Request-Id: mine")),
    _parked("a parked poll with a tag", get(POLL_AT.format(TAIL), 'If-None-Match: "x"')),
    _parked("a parked poll, Connection: close", get(POLL_AT.format(TAIL), "Connection: close")),
    _parked("a parked poll by HTTP/1.0", OLD_POLL),
    _parked("a parked poll whose stream is closed", then=_by_w(CLOSING)),
    _parked(
        "a parked poll whose stream is closed with data",
        then=_by_w(post("s", b"end", "Stream-Closed: true")),
    ),
    _parked("a parked poll whose stream is deleted", then=_by_w(request("DELETE", "s"))),
    _made("a parked poll that the client leaves", Send((POLL,)), parked(), Leave(), parked(0)),
    _made("a poll that times out", POLL, stage=IMPATIENT),
    _made("a poll from now that times out", get("s?offset=now&live=long-poll"), stage=IMPATIENT),
    _made("a poll that times out, twice", POLL, POLL, stage=IMPATIENT),
    _made("a poll that times out by HTTP/1.0", OLD_POLL, stage=IMPATIENT),
    _made(
        "a poll that is parked as the gateway stops",
        Send((POLL,)),
        parked(),
        Drain(),
        Answers(),
        asks_on=False,
    ),
    _made("a poll as the gateway stops", request("HEAD", "s"), Drain(), POLL, asks_on=False),
    _made("a read as the gateway stops", READ, Drain(), READ, asks_on=False),
    _made("an append as the gateway stops", APPEND, Drain(), APPEND, asks_on=False),
    _made(
        "a poll above the bound of live readers",
        Send((POLL,)),
        parked(),
        Ask(POLL, by="b"),
        NEWS,
        Answers(),
        stage=ONE_READER,
    ),
]

SSE = [
    _events("events from the start", get(START), NEWS, Events(CONTROL)),
    _events("events from now", get("s?offset=now&live=sse"), NEWS, Events(CONTROL)),
    _events("events from the tail", EVENTS, NEWS, Events(CONTROL)),
    _events("events of JSON", get("json?offset=-1&live=sse")),
    _events("events behind Last-Event-ID", get(START, f"Last-Event-ID: {TAIL}")),
    _made("events behind a bad Last-Event-ID", get(START, "Last-Event-ID: bad")),
    _events("events behind an empty Last-Event-ID", get(START, "Last-Event-ID:")),
    _events("events with an id", get(START, "X-Request-Id: mine")),
    _made("events without an offset", get("s?live=sse"), asks_on=False),
    _made("events of no stream", get("nothing?offset=-1&live=sse")),
    _made("events from a bad offset", get("s?offset=bad&live=sse")),
    _made("events of a closed stream", get("closed?offset=-1&live=sse")),
    _made("events of a closed stream's tail", get(f"closed?offset={TAIL}&live=sse")),
    _events("events of a stream that is closed", EVENTS, _by_w(CLOSING), EventsEnd(), asks_on=True),
    _events(
        "events of a stream that is deleted",
        EVENTS,
        _by_w(request("DELETE", "s")),
        EventsEnd(),
        asks_on=True,
        is_once=True,
    ),
    _events("events that the client leaves", EVENTS, Leave(), parked(0), asks_on=True),
    _made(
        "events by HTTP/1.0",
        Send((request("GET", "closed?offset=-1&live=sse", version="1.0"),)),
        Answers(),
    ),
    _made("events, Connection: close", get("closed?offset=-1&live=sse", "Connection: close")),
    _events("events as the gateway stops", EVENTS, Drain(), EventsEnd(), Rest()),
    _made(
        "events that are asked for as the gateway stops",
        request("HEAD", "s"),
        Drain(),
        EVENTS,
        asks_on=False,
    ),
    _events(
        "events that last as long as they may",
        EVENTS,
        EventsEnd(),
        asks_on=True,
        stage=OWN_LOG.but(sse_max_age=0.1),
    ),
    _events("events with a heartbeat", EVENTS, Events(b":\n"), stage=OWN_LOG.but(heartbeat=0.1)),
    _made("a HEAD of events", request("HEAD", START)),
    _made(
        "events above the bound of live readers",
        Send((POLL,)),
        parked(),
        Ask(EVENTS, by="b"),
        NEWS,
        Answers(),
        stage=ONE_READER,
    ),
]

EXCHANGES = [*POLLS, *SSE]
