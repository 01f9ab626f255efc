"""Writes that are passed on to an HTTP origin."""

from __future__ import annotations

from tests.support.raw_origin import answer
from tests.support.serving import EDGE, get, post, put, request
from tests.web.corpus.exchange import Exchange, Given, Reply, Stage, Step
from tests.web.corpus.stages import ORIGIN
from tests.web.corpus.steps import Answers, Ask, Finish, More, Parts, Rest, Send

S = f"{EDGE}/s"
READ = get(f"{S}?offset=a")
TEXT = "Content-Type: text/plain"
DONE = answer(b"", "Stream-Next-Offset: b", status="204 No Content")
KEPT = answer(b"one", TEXT, "Stream-Next-Offset: b", "Cache-Control: max-age=60")
APPEND, DELETE = post(S, b"two"), request("DELETE", S)
STAMP = ("Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0")
CHUNKED = request("POST", S, TEXT, "Transfer-Encoding: chunked").replace(
    b"Content-Length: 0\r\n", b""
)
IMPATIENT = ORIGIN.but(route={"response_timeout": 0.6})
ABSENT = ORIGIN.but(route={"origin": "http://127.0.0.1:1"})


def _made(
    name: str, *steps: Step, given: tuple[Given, ...] = (), stage: Stage = ORIGIN
) -> Exchange:
    return Exchange(name, stage, steps, given)


def _asked(name: str, sent: bytes, said: bytes | Reply = DONE) -> Exchange:
    return _made(name, Ask(sent, origin=(said,)))


REPLIES: dict[str, bytes | Reply] = {
    "by 204": DONE,
    "by 200": answer(b"", "Stream-Next-Offset: b"),
    "by 200 with a body": answer(b"done", TEXT),
    "by 204 with producer's fields": answer(
        b"", "Producer-Epoch: 0", "Producer-Seq: 3", status="204 No Content"
    ),
    "by 201 with Location": answer(b"", "Location: /edge/other", status="201 Created"),
    "by 301": answer(b"", "Location: /other", status="301 Moved Permanently"),
    "by 304": answer(b"", status="304 Not Modified"),
    "by 400": answer(b"no", TEXT, status="400 Bad Request"),
    "by 401": answer(b"who", TEXT, "WWW-Authenticate: Bearer", status="401 Unauthorized"),
    "by 404": answer(b"none", TEXT, status="404 Not Found"),
    "by 409": answer(b"closed", TEXT, "Stream-Closed: true", status="409 Conflict"),
    "by 413": answer(b"", status="413 Too Large"),
    "by 429": answer(b"", "Retry-After: 7", status="429 Too Many Requests"),
    "by 500": answer(b"oh", TEXT, status="500 Oh"),
    "by 503": answer(b"oh", TEXT, "Retry-After: 7", status="503 Unavailable"),
    "with cookies": answer(b"", "Set-Cookie: a=1", "Set-Cookie: b=2", status="204 No Content"),
    "with our own fields": answer(
        b"", "X-Cache: HIT", "X-Request-Id: o", "Via: 1.1 other", "Age: 3", status="204 No Content"
    ),
    "with hop-by-hop fields": answer(b"", "Connection: X-Hop", "X-Hop: 1", status="204 No Content"),
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
    "until the end": Reply((b"HTTP/1.1 200 OK\r\n\r\none",), end="close"),
    "by HTTP/1.0": Reply((DONE.replace(b"HTTP/1.1", b"HTTP/1.0"),), end="close"),
    "by a cut answer": Reply((answer(b"done")[:-1],), end="close"),
    "by half a head": Reply((DONE[:20],), end="close"),
    "by no HTTP": Reply((b"what?\r\n\r\n",), end="close"),
    "by an end": Reply((), end="close"),
    "by a reset": Reply((), end="reset"),
}

EXCHANGES = [
    *(
        _asked(f"an append that the origin answers {name}", APPEND, said)
        for name, said in REPLIES.items()
    ),
    *(
        _asked(f"an append to an origin with {name}", post(S, b"two", *lines))
        for name, lines in {
            "a producer": STAMP,
            "a producer's field twice": (*STAMP, "Producer-Seq: 1"),
            "a closing": ("Stream-Closed: true",),
            "an id": ("X-Request-Id: mine",),
            "a bad id": ("X-Request-Id: a b",),
            "a credential": ("Authorization: Bearer a",),
            "a cookie": ("Cookie: a=1",),
            "names of proxies": (
                "X-Forwarded-For: 192.0.2.7",
                "X-Forwarded-Proto: https",
                "Via: 1.1 other",
            ),
            "its own Via": ("Via: 1.1 headgate-test",),
            "hop-by-hop fields": ("Connection: X-Hop, keep-alive", "X-Hop: 1"),
            "an encoding": ("Content-Encoding: gzip",),
            "a trace": ("Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
            "Connection: close": ("Connection: close",),
            "an Origin": ("Origin: https://a.example",),
            "Expect": ("Expect: 100-continue",),
            "If-Match": ('If-Match: "x"',),
            "Upgrade": ("Connection: Upgrade", "Upgrade: websocket"),
        }.items()
    ),
    _asked("an append of nothing to an origin", post(S, b"")),
    _asked("an append without a type to an origin", request("POST", S, body=b"x")),
    _asked("an append that is too long for an origin", post(S, b"x" * 2049)),
    _asked("an append of the longest body to an origin", post(S, b"x" * 2048)),
    _asked("an append with a query to an origin", post(f"{S}?x=1", b"x")),
    _asked("an append to a bad target of an origin", post(f"{EDGE}/a//b", b"x")),
    _asked("an append to __ds of an origin", post(f"{EDGE}/__ds/x", b"x")),
    _asked("an append to the prefix of an origin", post(EDGE, b"x")),
    _asked(
        "an append by HTTP/1.0 to an origin", request("POST", S, TEXT, body=b"x", version="1.0")
    ),
    _asked("an append of chunks to an origin", CHUNKED + b"3\r\ntwo\r\n0\r\n\r\n"),
    _made(
        "an append of chunks in parts to an origin",
        Parts((CHUNKED, b"3\r\ntw", b"o\r\n0\r\n\r\n"), origin=(DONE,)),
        Answers(),
    ),
    _asked("an append of broken chunks to an origin", CHUNKED + b"x\r\n"),
    _made(
        "an append in two parts to an origin",
        Parts((APPEND[:-2], APPEND[-2:]), origin=(DONE,)),
        Answers(),
    ),
    _made(
        "an append to an origin that the client breaks off",
        Send((APPEND[:-1],), origin=(DONE,)),
        Finish(),
        Rest(),
    ),
    _made(
        "an append to an origin that waits for leave",
        Parts((post(S, b"two", "Expect: 100-continue")[:-3],), origin=(DONE,)),
        More(b"two"),
        Answers(),
    ),
    _asked(
        "a creation at an origin",
        put(S, body=b"x"),
        answer(b"", "Stream-Next-Offset: b", status="201 Created"),
    ),
    _asked(
        "a creation at an origin that says where",
        put(S),
        answer(b"", "Location: /edge/s", status="201 Created"),
    ),
    _asked("a creation that an origin refuses", put(S), answer(b"", status="409 Conflict")),
    _asked(
        "a fork at an origin",
        put(S, f"Stream-Forked-From: {EDGE}/t"),
        answer(b"", status="201 Created"),
    ),
    _asked("a deletion at an origin", DELETE, answer(b"", status="204 No Content")),
    _asked("a deletion that an origin refuses", DELETE, answer(b"", status="404 Not Found")),
    *(
        _made(
            f"a read after {what}",
            Ask(write, origin=(said,)),
            Ask(READ, origin=(then,)),
            given=(Given(READ, KEPT),),
        )
        for what, write, said, then in (
            ("an append to an origin", APPEND, DONE, KEPT),
            ("an append that failed at an origin", APPEND, answer(b"", status="500 Oh"), KEPT),
            ("a deletion at an origin", DELETE, DONE, answer(status="404 Not Found")),
        )
    ),
    _made(
        "appends ahead to an origin",
        Send((APPEND, APPEND, post(S, b"three")), origin=(DONE,)),
        Answers(3),
    ),
    _made(
        "a read behind an append to an origin",
        Send((APPEND, READ), origin=(DONE, KEPT)),
        Answers(2),
    ),
    _made(
        "a bad request behind an append to an origin",
        Send((APPEND, b"GET /\r\n\r\n"), origin=(DONE,)),
        Answers(2),
    ),
    _made("an append to a silent origin", Ask(APPEND, origin=(Reply(),)), stage=IMPATIENT),
    _made("an append to an origin that refuses connections", Ask(APPEND), stage=ABSENT),
]
