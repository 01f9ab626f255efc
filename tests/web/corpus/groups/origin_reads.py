"""Reads of an HTTP origin that do not wait."""

from __future__ import annotations

from tests.support.raw_origin import answer
from tests.support.serving import EDGE, get, request
from tests.web.corpus.exchange import Exchange, Given, Reply, Stage, Step
from tests.web.corpus.stages import ORIGIN
from tests.web.corpus.steps import Answers, Arrive, Ask, Go, Leave, Pass, Send, Until

TARGET = f"{EDGE}/s?offset=a"
READ = get(TARGET)
TEXT = "Content-Type: text/plain"
LASTS = "Cache-Control: max-age=60"
NEXT = "Stream-Next-Offset: b"
KEPT = answer(b"one", TEXT, NEXT, LASTS, 'ETag: "x"')
PLAIN = answer(b"one", TEXT)
STALE = answer(
    b"old", TEXT, NEXT, "Cache-Control: max-age=0, stale-while-revalidate=600", 'ETag: "x"'
)
FOR_ERRORS = answer(b"old", TEXT, NEXT, "Cache-Control: max-age=0, stale-if-error=600", 'ETag: "x"')
ERROR = answer(b"oh", TEXT, status="500 Oh")
IMPATIENT = ORIGIN.but(route={"response_timeout": 0.6})
ABSENT = ORIGIN.but(route={"origin": "http://127.0.0.1:1"})
CACHED, LENIENT = (Given(READ, KEPT),), (Given(READ, FOR_ERRORS),)
NOT_FOUND = answer(status="404 Not Found")
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"


def _made(
    name: str, *steps: Step, given: tuple[Given, ...] = (), stage: Stage = ORIGIN
) -> Exchange:
    return Exchange(name, stage, steps, given)


def _asked(
    name: str,
    origin: bytes | Reply,
    *lines: str,
    given: tuple[Given, ...] = (),
    stage: Stage = ORIGIN,
) -> Exchange:
    return _made(name, Ask(get(TARGET, *lines), origin=(origin,)), given=given, stage=stage)


def _twice(name: str, origin: bytes, asked: bytes = READ) -> Exchange:
    return _made(name, Ask(asked, origin=(origin,)), Ask(asked))


def heard(count: int) -> Until:
    """Wait until the origin was asked so often since the exchange began."""
    return Until(
        f"the origin was asked {count} times",
        lambda player: len(player.gateway.origin_bodies) == count,
    )


REPLIES: dict[str, bytes | Reply] = {
    "that lasts": KEPT,
    "that says nothing of caches": PLAIN,
    "that is private": answer(b"one", TEXT, "Cache-Control: private"),
    "that must not be stored": answer(b"one", TEXT, "Cache-Control: no-store"),
    "that must be validated": answer(b"one", TEXT, "Cache-Control: no-cache", 'ETag: "x"'),
    "that reaches the tail": answer(b"one", TEXT, NEXT, "Stream-Up-To-Date: true"),
    "of a closed stream": answer(b"one", TEXT, NEXT, "Stream-Closed: true"),
    "that is empty": answer(b"", TEXT, NEXT),
    "of 204": answer(b"", NEXT, status="204 No Content"),
    "of 206": answer(b"o", TEXT, "Content-Range: bytes 0-0/3", status="206 Partial Content"),
    "of 302": answer(b"", "Location: /other", status="302 Found"),
    "of 302 to itself": answer(b"", f"Location: {EDGE}/other", status="302 Found"),
    "of 304": answer(b"", 'ETag: "x"', status="304 Not Modified"),
    "of 400": answer(b"no", TEXT, status="400 Bad Request"),
    "of 401": answer(b"who", TEXT, "WWW-Authenticate: Bearer", status="401 Unauthorized"),
    "of 403": answer(b"no", TEXT, status="403 Forbidden"),
    "of 404": answer(b"none", TEXT, status="404 Not Found"),
    "of 404 that lasts": answer(b"none", TEXT, LASTS, status="404 Not Found"),
    "of 410": answer(b"gone", TEXT, status="410 Gone"),
    "of 429": answer(b"", "Retry-After: 7", status="429 Too Many Requests"),
    "of 500": ERROR,
    "of 502": answer(b"oh", TEXT, status="502 Bad Gateway"),
    "of 503": answer(b"oh", TEXT, "Retry-After: 7", status="503 Unavailable"),
    "of 599": answer(b"oh", TEXT, status="599 Odd"),
    "with Set-Cookie": answer(b"one", TEXT, LASTS, "Set-Cookie: a=1"),
    "with Vary": answer(b"one", TEXT, LASTS, "Vary: Accept-Encoding"),
    "with Vary: *": answer(b"one", TEXT, LASTS, "Vary: *"),
    "with Age": answer(b"one", TEXT, LASTS, "Age: 3"),
    "with our own fields": answer(
        b"one", TEXT, LASTS, "X-Cache: HIT", "X-Request-Id: o", "Via: 1.1 other"
    ),
    "with hop-by-hop fields": answer(
        b"one", TEXT, "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5"
    ),
    "that is compressed": answer(b"one", TEXT, LASTS, "Content-Encoding: gzip"),
    "that names pages": answer(b"one", TEXT, "Access-Control-Allow-Origin: https://a.example"),
    "by HTTP/1.0": Reply((PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),), end="close"),
    "in chunks": IN_CHUNKS,
    "until the end": Reply((b"HTTP/1.1 200 OK\r\n\r\none",), end="close"),
    "in two parts": Reply((PLAIN[:-1], PLAIN[-1:])),
    "with more than it says": Reply((PLAIN + b"more",), end="close"),
    "that is cut": Reply((PLAIN[:-1],), end="close"),
    "whose chunks are cut": Reply(
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\non",), end="close"
    ),
    "whose head is cut": Reply((PLAIN[:20],), end="close"),
    "that is no HTTP": Reply((b"what?\r\n\r\n",), end="close"),
    "with a bad header": Reply((b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",), end="close"),
    "that is an end": Reply((), end="close"),
    "that is a reset": Reply((), end="reset"),
    "of 100,000 bytes": answer(b"x" * 100_000, TEXT, LASTS),
}

ANSWERED = [_asked(f"an origin's answer {name}", said) for name, said in REPLIES.items()]

ASKED = [
    _asked(f"a read of an origin with {name}", KEPT, *lines)
    for name, lines in {
        "a tag": ('If-None-Match: "x"',),
        "another tag": ('If-None-Match: "y"',),
        "a tag and an id": ('If-None-Match: "x"', "X-Request-Id: mine"),
        "an id": ("X-Request-Id: mine",),
        "a bad id": ("X-Request-Id: a b",),
        "no-cache": ("Cache-Control: no-cache",),
        "no-store": ("Cache-Control: no-store",),
        "only-if-cached": ("Cache-Control: only-if-cached",),
        "Range": ("Range: bytes=0-0",),
        "a credential": ("Authorization: Bearer a",),
        "a cookie": ("Cookie: a=1",),
        "names of proxies": (
            "X-Forwarded-For: 192.0.2.7",
            "X-Forwarded-Proto: https",
            "Via: 1.1 other",
        ),
        "its own Via": ("Via: 1.1 headgate-test",),
        "Forwarded": ("Forwarded: for=192.0.2.7",),
        "hop-by-hop fields": ("Connection: X-Hop, keep-alive", "X-Hop: 1", "TE: trailers"),
        "an encoding": ("Accept-Encoding: gzip",),
        "a trace": (
            "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "Tracestate: a=b",
        ),
        "an Origin": ("Origin: https://a.example",),
        "Connection: close": ("Connection: close",),
    }.items()
]

KNOWN = [
    _made("a read that is cached of an origin", Ask(READ), given=CACHED),
    _made("a read that is cached of an origin, twice", Ask(READ), Ask(READ), given=CACHED),
    *(
        _made(
            f"a read that is cached of an origin with {name}",
            Ask(get(TARGET, *lines), origin=(KEPT,)),
            given=CACHED,
        )
        for name, lines in {
            "its tag": ('If-None-Match: "x"',),
            "its weak tag": ('If-None-Match: W/"x"',),
            "another tag": ('If-None-Match: "y"',),
            "its tag and an id": ('If-None-Match: "x"', "X-Request-Id: mine"),
            "no-cache": ("Cache-Control: no-cache",),
            "no-store": ("Cache-Control: no-store",),
            "max-age": ("Cache-Control: max-age=1",),
            "only-if-cached": ("Cache-Control: only-if-cached",),
            "Range": ("Range: bytes=0-0",),
            "a credential": ("Authorization: Bearer a",),
            "a cookie": ("Cookie: a=1",),
        }.items()
    ),
    _made("a HEAD of what is cached", Ask(request("HEAD", TARGET), origin=(KEPT,)), given=CACHED),
    _made("a HEAD of what is not cached", Ask(request("HEAD", TARGET), origin=(KEPT,))),
    _made("a HEAD that is an error", Ask(request("HEAD", TARGET), origin=(ERROR,))),
    _made("a HEAD of what is not there", Ask(request("HEAD", TARGET), origin=(NOT_FOUND,))),
    _made("what has aged", Pass(30), Ask(READ), given=CACHED),
    *(
        _made(f"what is too old, and {what}", Pass(61), Ask(READ, origin=(said,)), given=CACHED)
        for what, said in (
            ("unchanged", answer(b"", 'ETag: "x"', LASTS, status="304 Not Modified")),
            ("changed", answer(b"two", TEXT, LASTS)),
        )
    ),
    _asked("what is stale while it is renewed", KEPT, given=(Given(READ, STALE),)),
    _asked("what is stale while it is not renewed", ERROR, given=(Given(READ, STALE),)),
    _asked("what is stale and fails", ERROR, given=LENIENT),
    _asked("what is stale and cut", Reply((), end="close"), given=LENIENT),
    _asked("what is stale, and not there any more", NOT_FOUND, given=LENIENT),
    _twice(
        "what was not to be stored, asked twice", answer(b"one", TEXT, "Cache-Control: no-store")
    ),
    _twice(
        "what has a cookie's answer, asked twice", answer(b"one", TEXT, LASTS, "Set-Cookie: a=1")
    ),
    _twice("what is an error, asked twice", ERROR),
    _twice("what is not there, asked twice", NOT_FOUND),
    _made(
        "variants",
        Ask(
            get(TARGET, "Accept-Encoding: gzip"),
            origin=(answer(b"one", TEXT, LASTS, "Vary: Accept-Encoding"),),
        ),
        Ask(READ),
        Ask(get(TARGET, "Accept-Encoding: gzip")),
    ),
    _twice("a read from now of an origin", KEPT, get(f"{EDGE}/s?offset=now")),
    _twice("a read from the start of an origin", KEPT, get(f"{EDGE}/s?offset=-1")),
    _twice("a read without an offset of an origin", KEPT, get(f"{EDGE}/s")),
    _made(
        "a read with two offsets of an origin",
        Ask(get(f"{EDGE}/s?offset=a&offset=b"), origin=(KEPT,)),
    ),
    _made("the prefix of an origin", Ask(get(EDGE), origin=(KEPT,))),
    _made("__ds of an origin", Ask(get(f"{EDGE}/__ds/x"), origin=(KEPT,))),
    _made(
        "OPTIONS of an origin",
        Ask(request("OPTIONS", TARGET), origin=(answer(status="204 No Content"),)),
    ),
    _made("PATCH of an origin", Ask(request("PATCH", TARGET, body=b"x"), origin=(KEPT,))),
    _made("TRACE of an origin", Ask(request("TRACE", TARGET), origin=(KEPT,))),
    _made(
        "a read by HTTP/1.0 of an origin",
        Ask(request("GET", TARGET, version="1.0"), origin=(KEPT,)),
    ),
    _made(
        "an open answer to HTTP/1.0",
        Ask(request("GET", TARGET, version="1.0"), origin=(IN_CHUNKS,)),
    ),
    _made(
        "a read with a body of an origin", Ask(request("GET", TARGET, body=b"x"), origin=(KEPT,))
    ),
    _made(
        "reads ahead of an origin",
        Send((READ, get(f"{EDGE}/t?offset=a"), READ), origin=(KEPT,)),
        Answers(3),
    ),
    _made(
        "a read ahead of an origin and a bad one",
        Send((READ, b"GET /\r\n\r\n"), origin=(KEPT,)),
        Answers(2),
    ),
    _asked("an origin that is silent", Reply(), stage=IMPATIENT),
    _asked(
        "an origin that is silent, with something stale", Reply(), given=LENIENT, stage=IMPATIENT
    ),
    _made("an origin that refuses connections", Ask(READ), Ask(READ), stage=ABSENT),
]

TOGETHER = [
    *(
        _made(
            f"readers who {what} at once",
            *(Send((READ,), origin=(Reply((said,), is_held=True),)), heard(1)),
            *(Send((READ,), by="b"), Arrive(), Go(), Answers(), Answers(by="b")),
        )
        for what, said in (("ask for the same", KEPT), ("get the same error", ERROR))
    ),
    _made(
        "a reader that leaves before the answer",
        Send((READ,), origin=(Reply((KEPT,), is_held=True),)),
        heard(1),
        Leave(),
        Until(
            "the request is given up", lambda player: not player.gateway.edge.origin.requests.count
        ),
        Go(),
        Ask(READ, by="b", origin=(KEPT,)),
    ),
]

EXCHANGES = [*ANSWERED, *ASKED, *KNOWN, *TOGETHER]
