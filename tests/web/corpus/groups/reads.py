"""Reads of an own log that do not wait."""

from __future__ import annotations

from tests.support.serving import PREFIX, get, offset, put, request
from tests.web.corpus.exchange import Exchange, Given
from tests.web.corpus.stages import OWN_LOG
from tests.web.corpus.steps import Answers, Ask, Pass, Send

S = Given(put("s", body=b"one"))
CACHED = (S, Given(get("s?offset=-1")))
TOLD_TAG = Given(get("s?offset=-1", "Cache-Control: no-store"), forgets=True)
JSON = Given(put("json", body=b'[1,{"a":2}]', content_type="application/json"))
CLOSED = Given(put("closed", "Stream-Closed: true", body=b"end"))
EMPTY = Given(put("empty"))
LONG = Given(put("long", body=b"0123456789" * 200))
TAIL = offset(3)

TARGETS = {
    "without an offset": ("s", S),
    "from the start": ("s?offset=-1", S),
    "from the tail": (f"s?offset={TAIL}", S),
    "from now": ("s?offset=now", S),
    "from within": (f"s?offset={offset(1)}", S),
    "from behind the tail": (f"s?offset={offset(4)}", S),
    "from a bad offset": ("s?offset=bad", S),
    "from an empty offset": ("s?offset=", S),
    "from two offsets": ("s?offset=-1&offset=now", S),
    "with a parameter that is not known": ("s?offset=-1&x=1", S),
    "with parameters in another order": ("s?cursor=7&offset=-1", S),
    "with a bad escape in the query": ("s?offset=%zz", S),
    "with live=perhaps": ("s?offset=-1&live=perhaps", S),
    "of JSON": ("json?offset=-1", JSON),
    "of JSON from its tail": ("json?offset=now", JSON),
    "of a closed stream": ("closed?offset=-1", CLOSED),
    "of a closed stream from its tail": (f"closed?offset={TAIL}", CLOSED),
    "of an empty stream": ("empty?offset=-1", EMPTY),
    "of two kilobytes": ("long?offset=-1", LONG),
    "of no stream": ("nothing?offset=-1", S),
    "of no stream without an offset": ("nothing", S),
    "by an absolute URL": (f"http://headgate.test{PREFIX}/s?offset=-1", S),
    "by an absolute URL of another host": (f"http://other.test{PREFIX}/s?offset=-1", S),
    "by an escaped name": (f"{PREFIX}/%73?offset=-1", S),
    "of a name with a slash": (f"{PREFIX}/a/b?offset=-1", Given(put(f"{PREFIX}/a/b", body=b"x"))),
    "of a name with an escaped slash": (f"{PREFIX}/a%2Fb?offset=-1", S),
    "of a name in UTF-8": (f"{PREFIX}/%C3%A9?offset=-1", Given(put(f"{PREFIX}/%C3%A9", body=b"x"))),
}


def _lines(name: str, *lines: str, cached: bool = True) -> list[Exchange]:
    """A read with these lines, of what is cached or not."""
    has_tag = any("{etag}" in line for line in lines)
    given = [S, TOLD_TAG] if has_tag else [S]
    exchanges = [Exchange(f"{name}: not cached", OWN_LOG, [Ask(get("s?offset=-1", *lines))], given)]
    if cached:
        asks = [Ask(get("s?offset=-1", *lines)), Ask(get("s?offset=-1", *lines))]
        exchanges.append(Exchange(f"{name}: cached, twice", OWN_LOG, asks, CACHED))
    return exchanges


TAGGED = "If-None-Match: {etag}"

EXCHANGES = [
    *(
        Exchange(f"a read {name}", OWN_LOG, [Ask(get(target))], [given])
        for name, (target, given) in TARGETS.items()
    ),
    *(
        Exchange(f"a read {name}, twice", OWN_LOG, [Ask(get(target)), Ask(get(target))], [given])
        for name, (target, given) in TARGETS.items()
        if "bad" not in name
    ),
    *(
        Exchange(f"HEAD {name}", OWN_LOG, [Ask(request("HEAD", target))], [given])
        for name, (target, given) in TARGETS.items()
        if name in {"without an offset", "from the start", "of JSON", "of a closed stream"}
        or "no stream" in name
    ),
    Exchange("a read after a second", OWN_LOG, [Pass(1.5), Ask(get("s?offset=-1"))], CACHED),
    Exchange("a read after an hour", OWN_LOG, [Pass(3600), Ask(get("s?offset=-1"))], CACHED),
    *_lines("If-None-Match of another", 'If-None-Match: "other"'),
    *_lines("If-None-Match of anything", "If-None-Match: *"),
    *_lines("If-None-Match without quotes", "If-None-Match: bare"),
    *_lines("If-None-Match that matches", TAGGED),
    *_lines("If-None-Match that matches weakly", "If-None-Match: W/{etag}"),
    *_lines("If-None-Match among others", 'If-None-Match: "other", {etag}'),
    *_lines("If-None-Match that matches, with an id", TAGGED, "X-Request-Id: mine"),
    *_lines("If-None-Match that matches, without a blank", "If-None-Match:{etag}"),
    *_lines("If-None-Match twice", 'If-None-Match: "other"', TAGGED),
    *_lines("If-Modified-Since", "If-Modified-Since: Fri, 15 Jan 2027 07:00:00 GMT"),
    *_lines("X-Request-Id", "X-Request-Id: mine"),
    *_lines("X-Request-Id that is bad", "X-Request-Id: a b"),
    *_lines("X-Request-Id that is empty", "X-Request-Id:"),
    *_lines("X-Request-Id that is too long", f"X-Request-Id: {'a' * 129}"),
    *_lines("X-Request-Id twice", "X-Request-Id: mine", "X-Request-Id: yours"),
    *_lines("Range", "Range: bytes=0-0"),
    *_lines("Range and If-Range", "Range: bytes=0-0", "If-Range: {etag}"),
    *_lines("Cache-Control: no-cache", "Cache-Control: no-cache"),
    *_lines("Cache-Control: no-store", "Cache-Control: no-store"),
    *_lines("Cache-Control: only-if-cached", "Cache-Control: only-if-cached"),
    *_lines("Pragma: no-cache", "Pragma: no-cache"),
    *_lines("Accept-Encoding: gzip", "Accept-Encoding: gzip"),
    *_lines("Accept that does not fit", "Accept: image/png", cached=False),
    *_lines("a cookie", "Cookie: a=1", cached=False),
    *_lines("a credential nobody asked for", "Authorization: Bearer x", cached=False),
    *_lines("names of proxies", "X-Forwarded-For: 192.0.2.7", "User-Agent: corpus/1"),
    *_lines("Traceparent", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    *_lines("Via ourselves", "Via: 1.1 headgate-test", cached=False),
    *_lines("Content-Length: 0", "Content-Length: 0", cached=False),
    *_lines("Connection: close", "Connection: close", cached=False),
    Exchange(
        "a first and last request that is cached",
        OWN_LOG,
        [Ask(get("s?offset=-1", "Connection: close"), early=True)],
        (*CACHED, Given(get("s?offset=-1", "Connection: close"))),
    ),
    Exchange(
        "a first and last request that is not cached",
        OWN_LOG,
        [Ask(get("s?offset=-1", "Connection: close"), early=True)],
        [S],
    ),
    Exchange(
        "a first request that is cached", OWN_LOG, [Ask(get("s?offset=-1"), early=True)], CACHED
    ),
    Exchange(
        "a cached read by three connections",
        OWN_LOG,
        [Ask(get("s?offset=-1"), by=by) for by in ("a", "b", "c")],
        CACHED,
    ),
    Exchange(
        "reads of what is not cached by two at once",
        OWN_LOG,
        [
            Send((get("s?offset=-1"),), by="a"),
            Send((get("s?offset=-1"),), by="b"),
            Answers(by="a"),
            Answers(by="b"),
        ],
        [S],
    ),
]
