"""Writes to an own log: creations, appends, closings, deletions, forks, lifetimes, producers."""

from __future__ import annotations

from tests.support.multi_append import framed
from tests.support.serving import PREFIX, get, offset, post, put, request
from tests.web.corpus.exchange import Exchange, Given, Step
from tests.web.corpus.stages import OWN_LOG
from tests.web.corpus.steps import Ask, Pass

JSON = "application/json"
S = Given(put("s", body=b"one"))
EMPTY_JSON = Given(put("json", content_type=JSON))
CLOSED = Given(put("closed", "Stream-Closed: true", body=b"end"))
STAMP = ("Producer-Id: p", "Producer-Epoch: 3")
PRODUCER = (Given(put("s")), Given(post("s", b"a", *STAMP, "Producer-Seq: 0")))
SEQ = (Given(put("s")), Given(post("s", b"a", "Stream-Seq: b")))
FORKED = f"Stream-Forked-From: {PREFIX}/s"
MULTI = "X-Stream-Multi: true"
READ = Ask(get("s?offset=-1"))


def _made(name: str, *steps: bytes | Step, given: tuple[Given, ...] = (S,)) -> Exchange:
    made = [Ask(step) if isinstance(step, bytes) else step for step in steps]
    return Exchange(name, OWN_LOG, made, given)


def _json(name: str, body: bytes, *lines: str) -> Exchange:
    return _made(name, post("json", body, *lines, content_type=JSON), given=(EMPTY_JSON,))


def _stamp(producer: str, epoch: int, seq: int) -> tuple[str, ...]:
    return (f"Producer-Id: {producer}", f"Producer-Epoch: {epoch}", f"Producer-Seq: {seq}")


def _producer(name: str, *lines: str, body: bytes = b"x", then: tuple[Step, ...] = ()) -> Exchange:
    return _made(name, post("s", body, *lines), *then, given=PRODUCER)


CREATIONS = [
    _made("a creation", put("n")),
    _made("a creation with data", put("n", body=b"data")),
    _made("a creation of JSON", put("n", body=b"[1]", content_type=JSON)),
    _made("a creation of bad JSON", put("n", body=b"[1", content_type=JSON)),
    _made("a creation that is repeated", put("n"), put("n")),
    _made("a creation with another type", put("s", content_type="text/html")),
    _made("a creation without a type", request("PUT", "n")),
    _made("a creation with an empty type", request("PUT", "n", "Content-Type:")),
    _made("a creation of a closed stream", put("n", "Stream-Closed: true", body=b"x")),
    _made("a creation with Expect", put("n", "Expect: 100-continue", body=b"x")),
    _made("a creation of a name with ..", put(f"{PREFIX}/a/../b")),
    _made("a creation of __ds", put(f"{PREFIX}/__ds/x")),
    _made("a creation of the prefix", put(PREFIX)),
    _made("a creation of the prefix with a slash", put(f"{PREFIX}/")),
    _made("a creation with a query", put(f"{PREFIX}/n?x=1")),
    _made("a creation of a name that is too long", put("n" * 1500)),
    _made("a creation that is conditional", put("n", "If-None-Match: *")),
    _made("a creation, then a read", put("n", body=b"x"), get("n?offset=-1"), get("n?offset=-1")),
    _made("a creation that is too long", put("n", body=b"x" * 2049)),
]

APPENDS = [
    _made("an append", post("s", b"two")),
    _made("an append, then a read", post("s", b"two"), READ, READ),
    _made("a read, an append, a read", READ, post("s", b"two"), READ),
    _made("an append of nothing", post("s", b"")),
    _made("an append of another type", post("s", b"two", content_type="text/html")),
    _made("an append of a type with a parameter", post("s", b"x", content_type="text/plain; a=b")),
    _made("an append without a type", request("POST", "s", body=b"two")),
    _made("an append to no stream", post("nothing", b"x")),
    _made("an append to a closed stream", post("closed", b"x"), given=(CLOSED,)),
    _made("an append of the longest body", post("s", b"x" * 2048)),
    _made("an append of a body that is too long", post("s", b"x" * 2049)),
    _json("an append of JSON", b"[1,2]"),
    _json("an append of one value", b"1"),
    _json("an append of no JSON", b"[1,"),
    _json("an append of an empty array", b"[]"),
    _made("an append with Stream-Seq", post("s", b"x", "Stream-Seq: c"), given=SEQ),
    _made("an append with an old Stream-Seq", post("s", b"x", "Stream-Seq: a"), given=SEQ),
    _made("an append with the same Stream-Seq", post("s", b"x", "Stream-Seq: b"), given=SEQ),
    _made(
        "an append with a long Stream-Seq", post("s", b"x", f"Stream-Seq: {'s' * 1025}"), given=SEQ
    ),
    _made("an append with Stream-Seq twice", post("s", b"x", "Stream-Seq: c", "Stream-Seq: d")),
    _made("an append with a query", post("s?x=1", b"x")),
    _made("an append with a parameter twice", post("s?x=1&x=2", b"x")),
    _made("an append with a bad escape", post("s?x=%zz", b"x")),
    _made("an append by an absolute URL", post(f"http://headgate.test{PREFIX}/s", b"x")),
    _made("an append by a URL of another host", post(f"http://other.test{PREFIX}/s", b"x")),
    _made("an append that is compressed", post("s", b"x", "Content-Encoding: gzip")),
    _made("an append that is not compressed", post("s", b"x", "Content-Encoding: identity")),
    _made("an append with an id", post("s", b"x", "X-Request-Id: mine")),
    _made("an append with a bad id", post("s", b"x", "X-Request-Id: a b")),
    _made("an append with If-Match", post("s", b"x", 'If-Match: "x"')),
    _made("an append, Connection: close", post("s", b"x", "Connection: close")),
    _made(
        "an append in a trace",
        post("s", b"x", "Traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
    ),
    _json("an append of several messages", framed([b"1", b"2"]), MULTI),
    _json("an append of messages that are cut", framed([b"1", b"2"])[:-1], MULTI),
    _json("an append of no messages", b"", MULTI),
    Exchange(
        "a first and last request that appends",
        OWN_LOG,
        [Ask(post("s", b"x", "Connection: close"), early=True)],
        (S,),
    ),
]

CLOSINGS = [
    _made("a closing", post("s", b"", "Stream-Closed: true"), READ, post("s", b"x")),
    _made("a closing with data", post("s", b"two", "Stream-Closed: true"), READ),
    _made("a closing without a type", request("POST", "s", "Stream-Closed: true"), READ),
    _made(
        "a closing of a closed stream", post("closed", b"", "Stream-Closed: true"), given=(CLOSED,)
    ),
    _made(
        "a closing with data of a closed stream",
        post("closed", b"x", "Stream-Closed: true"),
        given=(CLOSED,),
    ),
    _made("a closing that says false", post("s", b"x", "Stream-Closed: false"), READ),
    _made("a closing that says perhaps", post("s", b"x", "Stream-Closed: perhaps"), READ),
    _made("a closing said twice", post("s", b"x", "Stream-Closed: true", "Stream-Closed: true")),
    _made("a closing of no stream", post("nothing", b"", "Stream-Closed: true")),
]

PRODUCERS = [
    _producer("a producer's next", *STAMP, "Producer-Seq: 1", then=(READ,)),
    _producer("a producer's duplicate", *STAMP, "Producer-Seq: 0", body=b"a", then=(READ,)),
    _producer("a producer's gap", *STAMP, "Producer-Seq: 2", then=(READ,)),
    _producer("a producer that is fenced", *_stamp("p", 2, 1)),
    _producer("a producer's new epoch", *_stamp("p", 4, 0)),
    _producer("a producer's new epoch that begins at 1", *_stamp("p", 4, 1)),
    _producer("a producer without a seq", *STAMP),
    _producer("a producer with a bad seq", *STAMP, "Producer-Seq: -1"),
    _producer("a producer with a seq twice", *STAMP, "Producer-Seq: 1", "Producer-Seq: 2"),
    _producer(
        "a producer with an empty id", "Producer-Id:", "Producer-Epoch: 0", "Producer-Seq: 0"
    ),
    _producer("another producer", *_stamp("q", 0, 0)),
    _made(
        "a producer's closing, twice",
        *[post("s", b"x", *STAMP, "Producer-Seq: 1", "Stream-Closed: true")] * 2,
        given=PRODUCER,
    ),
]

LIFECYCLE = [
    _made("a deletion", request("DELETE", "s"), READ, put("s"), READ),
    _made("a deletion of no stream", request("DELETE", "nothing")),
    _made("a deletion with a body", request("DELETE", "s", body=b"x")),
    _made("a deletion of the prefix", request("DELETE", PREFIX)),
    _made("a fork", put("f", FORKED), get("f?offset=-1")),
    _made(
        "a fork from an offset",
        put("f", FORKED, f"Stream-Fork-Offset: {offset(1)}"),
        get("f?offset=-1"),
    ),
    _made("a fork from behind the tail", put("f", FORKED, f"Stream-Fork-Offset: {offset(9)}")),
    _made("a fork from a bad offset", put("f", FORKED, "Stream-Fork-Offset: bad")),
    _made("a fork of no stream", put("f", f"Stream-Forked-From: {PREFIX}/nothing")),
    _made("a fork of what is no path", put("f", "Stream-Forked-From: ..")),
    _made("a fork of another type", put("f", FORKED, content_type="text/html")),
    _made("a fork without a type", request("PUT", "f", FORKED)),
    _made("a fork with data", put("f", FORKED, body=b"two"), get("f?offset=-1")),
    _made("a fork said twice", put("f", FORKED, FORKED)),
    _made(
        "a fork whose source is deleted",
        put("f", FORKED),
        request("DELETE", "s"),
        get("f?offset=-1"),
        READ,
        put("s"),
    ),
    _made(
        "a lifetime",
        put("t", "Stream-TTL: 60", body=b"x"),
        get("t?offset=-1"),
        request("HEAD", "t"),
        Pass(61),
        get("t?offset=-1"),
    ),
    _made(
        "a lifetime that a read prolongs",
        put("t", "Stream-TTL: 60", body=b"x"),
        Pass(40),
        get("t?offset=-1"),
        Pass(40),
        get("t?offset=-1"),
    ),
    _made(
        "a moment of expiry",
        put("t", "Stream-Expires-At: 2027-01-15T08:01:00Z", body=b"x"),
        get("t?offset=-1"),
        Pass(61),
        get("t?offset=-1"),
        post("t", b"x"),
    ),
    _made("a bad lifetime", put("t", "Stream-TTL: -1")),
    _made("a lifetime of zero", put("t", "Stream-TTL: 0")),
    _made("a bad moment of expiry", put("t", "Stream-Expires-At: never")),
    _made(
        "a lifetime and a moment of expiry",
        put("t", "Stream-TTL: 60", "Stream-Expires-At: 2027-01-15T08:01:00Z"),
    ),
    _made("a lifetime said twice", put("t", "Stream-TTL: 60", "Stream-TTL: 60")),
    _made("another lifetime of a stream", put("s", "Stream-TTL: 60")),
]

EXCHANGES = [*CREATIONS, *APPENDS, *CLOSINGS, *PRODUCERS, *LIFECYCLE]
