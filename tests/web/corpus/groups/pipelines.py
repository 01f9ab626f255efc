"""Requests that a client sends before it has the answers to those before."""

from __future__ import annotations

from tests.support.serving import get, offset, post, put, request
from tests.web.corpus.exchange import Exchange, Given, Step
from tests.web.corpus.stages import OWN_LOG
from tests.web.corpus.steps import Answers, Ask, More, Rest, Send, parked

S = Given(put("s", body=b"one"))
LOG = Given(put("log"))
CLOSED = Given(put("closed", "Stream-Closed: true", body=b"end"))
CACHED = (S, LOG, CLOSED, Given(get("s?offset=-1")))
READ = get("s?offset=-1")
BAD = b"GET /\r\n\r\n"
POLL = get(f"s?live=long-poll&offset={offset(3)}")
STAMP = ("Producer-Id: p", "Producer-Epoch: 0")


def _made(name: str, *requests: bytes, count: int | None = None) -> Exchange:
    steps: list[Step] = [Send(requests), Answers(len(requests) if count is None else count)]
    return Exchange(name, OWN_LOG, steps, CACHED)


def _steps(name: str, *steps: Step) -> Exchange:
    return Exchange(name, OWN_LOG, steps, CACHED)


EXCHANGES = [
    _made("cached reads", READ, READ, READ),
    _made("reads of which one is cached", READ, get("log?offset=-1"), READ),
    _made("reads of what is not cached", get("log?offset=-1"), get("log?offset=now")),
    _made("a read and a HEAD", READ, request("HEAD", "s"), READ),
    _made("a HEAD, OPTIONS and a read", request("HEAD", "s"), request("OPTIONS", "s"), READ),
    _made("appends ahead", *[post("log", b"%d" % n) for n in range(4)]),
    _made("forty appends ahead", *[post("log", b"%d" % n) for n in range(40)]),
    _made("appends to two streams", post("s", b"a"), post("log", b"b"), post("s", b"c")),
    _made("reads behind appends", post("s", b"a"), post("s", b"b"), READ, get("s?offset=-1")),
    _made("an append between reads", READ, post("s", b"a"), READ),
    _made(
        "a creation, an append, a read, a deletion",
        put("n"),
        post("n", b"a"),
        get("n?offset=-1"),
        request("DELETE", "n"),
        get("n?offset=-1"),
    ),
    _made("creations ahead", put("n1"), put("n2"), put("n1")),
    *(
        _made(
            f"appends of a producer{more}",
            *[post("log", b"%d" % n, *STAMP, f"Producer-Seq: {n}") for n in numbers],
            get("log?offset=-1"),
        )
        for more, numbers in (("", (0, 1, 2)), (" with a gap", (0, 2, 1)))
    ),
    _made(
        "an append behind a closing",
        post("log", b"a", "Stream-Closed: true"),
        post("log", b"b"),
        get("log?offset=-1"),
    ),
    _made(
        "an append that is refused between others",
        post("log", b"a"),
        post("log", b"b", content_type="text/html"),
        post("log", b"c"),
        get("log?offset=-1"),
    ),
    _made(
        "an append that is too long behind another",
        post("log", b"a"),
        post("log", b"x" * 2049),
        post("log", b"c"),
        count=3,
    ),
    _made("a bad request behind a good one", READ, BAD),
    _made("a bad request behind an append", post("log", b"a"), BAD),
    _made("a bad request behind appends", post("log", b"a"), post("log", b"b"), BAD),
    _made("a bad request before a good one", BAD, READ, count=1),
    _made("a refused target between reads", READ, get("s?offset=bad"), READ),
    _made("an unknown route between reads", READ, get("/elsewhere"), READ),
    _made("a last request before others", get("s?offset=-1", "Connection: close"), READ, count=1),
    _made(
        "a last append before others",
        post("log", b"a", "Connection: close"),
        post("log", b"b"),
        count=1,
    ),
    _made(
        "a request by HTTP/1.0 before others",
        request("GET", "s?offset=-1", version="1.0"),
        READ,
        count=1,
    ),
    _made(
        "an upgrade before others",
        *(get("s?offset=-1", "Connection: Upgrade", "Upgrade: websocket"), READ),
        count=1,
    ),
    _made("a body that is refused before a read", request("PATCH", "s", body=b"body"), READ),
    _made("reads with and without an id", READ, get("s?offset=-1", "X-Request-Id: mine"), READ),
    _made("two blanks behind a read", READ, READ.replace(b"GET ", b"GET  ", 1)),
    _made("an empty line between reads", READ, b"\r\n" + READ),
    _made(
        "a read of a closed stream's tail behind its closing",
        post("log", b"a", "Stream-Closed: true"),
        get(f"log?offset={offset(1)}&live=long-poll"),
    ),
    _steps(
        "a read behind half an append",
        Send((post("log", b"twenty")[:-3],)),
        More(b"nty" + READ),
        Answers(2),
    ),
    _steps(
        "half a read behind a read",
        Send((READ + READ[:40],)),
        Answers(),
        More(READ[40:]),
        Answers(),
    ),
    _steps(
        "half a read behind appends",
        Send((post("log", b"a"), post("log", b"b") + READ[:40])),
        Answers(2),
        More(READ[40:]),
        Answers(),
    ),
    _steps(
        "half an append behind an append",
        Send((post("log", b"a") + post("log", b"bcd")[:-2],)),
        Answers(),
        More(b"cd"),
        Answers(),
    ),
    _steps(
        "requests behind a parked poll",
        Send((POLL,)),
        parked(),
        Send((READ, post("log", b"a"))),
        Ask(post("s", b"!"), by="b"),
        Answers(3),
    ),
    _steps(
        "a poll behind requests",
        Send((READ, post("log", b"a"), POLL)),
        Answers(2),
        parked(),
        Ask(post("s", b"!"), by="b"),
        Answers(),
    ),
    _steps(
        "a bad request behind a parked poll",
        Send((POLL,)),
        parked(),
        Send((BAD,)),
        Ask(post("s", b"!"), by="b"),
        Answers(2),
    ),
    _steps(
        "a read behind events", Send((get("closed?offset=-1&live=sse"), READ)), Answers(), Rest()
    ),
    _steps("early requests", Send((READ, post("log", b"a"), READ), early=True), Answers(3)),
]
