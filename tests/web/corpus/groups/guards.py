"""Requests to guarded routes: who is let in, and what everybody else is told."""

from __future__ import annotations

from tests.support.guarded_gateway import bearer, token
from tests.support.raw_origin import answer
from tests.support.serving import EDGE, PREFIX, get, offset, post, put, request
from tests.web.corpus.exchange import Exchange, Given, Stage, Step
from tests.web.corpus.stages import ASKED_ORIGIN, GUARDED, GUARDED_ORIGIN
from tests.web.corpus.steps import Answers, Ask, More, Parts, Pass, Send, parked

ALL = bearer("all")
COOKIE = f"Cookie: __Secure-headgate={token('all')}"
A = f"{PREFIX}/a/s"
READ = f"{A}?offset=-1"
AT_ORIGIN = f"{EDGE}/a/s?offset=a"
GIVEN = (Given(put(A, ALL, body=b"data")),)
CACHED = (*GIVEN, Given(get(READ, ALL)), Given(get(READ, bearer("ann"))))
KEPT = answer(
    b"one", "Content-Type: text/plain", "Stream-Next-Offset: b", "Cache-Control: max-age=60"
)
DONE = answer(b"", "Stream-Next-Offset: b", status="204 No Content")
CONCEALED = GUARDED.but(own={"auth": "tokens", "conceal": "on"})
CONCEALED_ORIGIN = GUARDED_ORIGIN.but(route={"conceal": "on"})
ANYBODY_READS = GUARDED.but(own={"auth": "tokens", "anonymous": ["read"]})
ANYBODY_APPENDS = GUARDED.but(own={"auth": "tokens", "anonymous": ["append"]})
KEYED = GUARDED.but(own={"auth": "tokens", "visibility": "private"})

WHO: dict[str, tuple[str, ...]] = {
    "nobody": (),
    "the right one": (ALL,),
    "a reader": (bearer("ann"),),
    "a reader of others": (bearer("ben"),),
    "a writer": (bearer("writer"),),
    "one who may close": (bearer("closer"),),
    "one whose token is over": (bearer("gone"),),
    "one whose token is wrong": ("Authorization: Bearer nobody",),
    "one with an empty token": ("Authorization: Bearer ",),
    "one with another scheme": ("Authorization: Basic YTpi",),
    "one with a cookie": (COOKIE,),
    "one with two tokens": (ALL, COOKIE),
    "one with two fields": (ALL, ALL),
}
OPERATIONS = {
    "a read": get(READ),
    "an append": post(A, b"more"),
    "a closing": request("POST", A, "Stream-Closed: true"),
    "a HEAD": request("HEAD", A),
    "a creation": put(f"{PREFIX}/a/n"),
    "a deletion": request("DELETE", A),
}


def _as(data: bytes, *lines: str) -> bytes:
    head, end, body = data.partition(b"\r\n\r\n")
    return b"\r\n".join([head, *(line.encode() for line in lines)]) + end + body


def _made(
    name: str, *steps: bytes | Step, stage: Stage = GUARDED, given: tuple[Given, ...] = CACHED
) -> Exchange:
    return Exchange(
        name, stage, [Ask(one) if isinstance(one, bytes) else one for one in steps], given
    )


OWN = [
    *(
        _made(f"{operation} by {who}", _as(data, *lines))
        for operation, data in OPERATIONS.items()
        for who, lines in WHO.items()
        if operation in {"a read", "an append"}
        or who in {"nobody", "the right one", "a reader of others", "one whose token is over"}
    ),
    _made("a read with a token in the query", get(f"{READ}&token={token('all')}")),
    _made("a read with a token that is over in the query", get(f"{READ}&token={token('gone')}")),
    _made("a read with an escaped token in the query", get(f"{READ}&tok%65n={token('all')}")),
    _made("a read with a token in the query and a field", get(f"{READ}&token={token('all')}", ALL)),
    _made("an append with a token in the query", post(f"{A}?token={token('all')}", b"x")),
    _made(
        "a read whose token ends meanwhile",
        Ask(get(READ, bearer("late"))),
        Pass(61),
        Ask(get(READ, bearer("late"))),
    ),
    _made(
        "an append whose token ends meanwhile",
        Ask(post(A, b"x", bearer("late"))),
        Pass(61),
        Ask(post(A, b"x", bearer("late"))),
    ),
    _made(
        "an append whose token ends while the body comes",
        Parts((post(A, b"data", bearer("late"))[:-2],)),
        Pass(61),
        More(b"ta"),
        Answers(),
        Ask(get(READ, ALL), by="b"),
    ),
    _made(
        "an append by nobody that waits for leave",
        Parts((post(A, b"data", "Expect: 100-continue")[:-4],)),
        Answers(leaves=True),
    ),
    _made(
        "an append by the right one that waits for leave",
        Parts((post(A, b"data", ALL, "Expect: 100-continue")[:-4],)),
        More(b"data"),
        Answers(),
    ),
    _made("a long body by nobody", Send((post(A, b"x" * 3000),)), Answers()),
    _made("a read that is not cached by the right one", get(READ, ALL), given=GIVEN),
    _made("a read twice by the right one", get(READ, ALL), get(READ, ALL), given=GIVEN),
    _made("a read of no stream by the right one", get(f"{PREFIX}/a/none?offset=-1", ALL)),
    _made("a read of no stream by nobody", get(f"{PREFIX}/a/none?offset=-1")),
    _made("a read with an id by the right one", get(READ, ALL, "X-Request-Id: mine")),
    _made("a conditional read by the right one", get(READ, ALL, "If-None-Match: {etag}")),
    _made("a conditional read by nobody", get(READ, "If-None-Match: {etag}")),
    _made(
        "a first and last read by the right one",
        Ask(get(READ, ALL, "Connection: close"), early=True),
        given=(*CACHED, Given(get(READ, ALL, "Connection: close"))),
    ),
    _made(
        "reads by several on one connection",
        get(READ, ALL),
        get(READ),
        get(READ, bearer("ann")),
        get(READ, bearer("ben")),
    ),
    _made(
        "reads by several, sent ahead",
        Send((get(READ, ALL), get(READ), get(READ, bearer("ann")))),
        Answers(3),
    ),
    _made(
        "appends by several, sent ahead",
        Send((post(A, b"1", ALL), post(A, b"2"), post(A, b"3", ALL))),
        Answers(3),
    ),
    _made("OPTIONS by nobody", request("OPTIONS", A)),
    _made(
        "a preflight by nobody",
        request("OPTIONS", A, "Origin: https://a.example", "Access-Control-Request-Method: PUT"),
    ),
    _made("PATCH by nobody", request("PATCH", A)),
    _made("PATCH by the right one", request("PATCH", A, ALL)),
    _made("a bad target by nobody", get(f"{PREFIX}/a//b")),
    _made("a bad offset by nobody", get(f"{A}?offset=bad")),
    _made("a bad offset by the right one", get(f"{A}?offset=bad", ALL)),
    _made("a write with a cookie from a page", post(A, b"x", COOKIE, "Origin: https://a.example")),
    _made(
        "a write with a cookie from our own page",
        post(A, b"x", COOKIE, "Origin: http://headgate.test"),
    ),
    _made(
        "a parked poll by the right one",
        Send((get(f"{A}?offset={offset(4)}&live=long-poll", ALL),)),
        parked(),
        Ask(post(A, b"!", ALL), by="w"),
        Answers(),
    ),
    _made("a poll by nobody", get(f"{A}?offset={offset(4)}&live=long-poll")),
    _made("events by nobody", get(f"{A}?offset=-1&live=sse")),
    _made("a private read", get(READ, ALL), stage=KEYED),
]

CONCEALED_READ = get(f"{PREFIX}/a/none?offset=-1")
OTHER_RULES = [
    *(
        _made(
            f"{operation} of a route that conceals by {who}", _as(data, *WHO[who]), stage=CONCEALED
        )
        for operation, data in OPERATIONS.items()
        for who in ("nobody", "the right one", "a reader of others")
        if operation in {"a read", "an append", "a HEAD"}
    ),
    _made("a read of no stream of a route that conceals", CONCEALED_READ, stage=CONCEALED),
    _made(
        "a read of no stream of a route that conceals by the right one",
        _as(CONCEALED_READ, ALL),
        stage=CONCEALED,
    ),
    *(
        _made(f"{operation} where anybody {may}, by {who}", _as(data, *WHO[who]), stage=stage)
        for may, stage in (("reads", ANYBODY_READS), ("appends", ANYBODY_APPENDS))
        for operation, data in OPERATIONS.items()
        for who in ("nobody", "the right one", "one whose token is wrong")
        if operation in {"a read", "an append"}
    ),
]


def _at(
    name: str, sent: bytes, reply: bytes, stage: Stage = GUARDED_ORIGIN, *, is_cached: bool = False
) -> Exchange:
    given = (Given(get(AT_ORIGIN, ALL), KEPT),) if is_cached else ()
    return _made(name, Ask(sent, origin=(reply,)), stage=stage, given=given)


OVER = "one whose token is over"
APPEND = post(f"{EDGE}/a/s", b"x")
AT_ORIGINS = [
    *(
        _at(f"a read of a guarded origin by {who}", get(AT_ORIGIN, *WHO[who]), KEPT)
        for who in ("nobody", "the right one", "a reader of others", OVER, "one with a cookie")
    ),
    *(
        _at(f"an append to a guarded origin by {who}", _as(APPEND, *WHO[who]), DONE)
        for who in ("nobody", "the right one", "a reader", OVER, "one with a cookie")
    ),
    *(
        _at(
            f"a cached read of a guarded origin by {who}",
            get(AT_ORIGIN, *WHO[who]),
            KEPT,
            is_cached=True,
        )
        for who in ("nobody", "the right one", "a reader of others", OVER)
    ),
    *(
        _at(
            f"a cached read of an origin that conceals by {who}",
            get(AT_ORIGIN, *WHO[who]),
            KEPT,
            CONCEALED_ORIGIN,
            is_cached=True,
        )
        for who in ("nobody", "the right one")
    ),
    *(
        _made(
            f"a read where the origin decides, which says {said}",
            *[Ask(get(AT_ORIGIN, ALL), origin=(reply,))] * 2,
            stage=ASKED_ORIGIN,
            given=(),
        )
        for said, reply in {
            "200": KEPT,
            "401": answer(status="401 Unauthorized"),
            "403": answer(status="403 Forbidden"),
            "404": answer(status="404 Not Found"),
            "500": answer(status="500 Oh"),
        }.items()
    ),
    _at("a read by nobody where the origin decides", get(AT_ORIGIN), KEPT, ASKED_ORIGIN),
    _at("an append where the origin decides", _as(APPEND, ALL), DONE, ASKED_ORIGIN),
]

EXCHANGES = [*OWN, *OTHER_RULES, *AT_ORIGINS]
