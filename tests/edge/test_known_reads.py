"""A read has the same response whether or not what is alike was remembered, whatever comes."""

from __future__ import annotations

import logging
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.edge.both_ways import EXAMPLES, Pair, Told, running_pair
from tests.edge.test_known_appends import HOW, Answered, played
from tests.support.guarded_gateway import bearer, token, tokens_file
from tests.support.serving import EDGE, get

if TYPE_CHECKING:
    from pathlib import Path

    Asked = tuple[int, str, list[str], Answered]
    Exchange = tuple[Asked, str]

COOKIE = "__Secure-headgate"
STATUSES = [
    *(["200 OK"] * 9),
    *("204 No Content", "206 Partial", "299 X", "302 Found", "304 Not Modified", "404 Not Found"),
    *("401 Who", "403 No", "410 Gone", "416 Range", "429 Slow", "500 Oh", "502 Bad Gateway"),
    "503 Later",
]
# Of a stream, without a word on its length.
AN_END = ("204 No Content", ["Stream-Next-Offset: b", "Stream-Closed: true"], 0, "until the end")
SAID = st.lists(
    st.sampled_from(
        [
            *("Stream-Next-Offset: b", "Stream-Next-Offset: b", "Stream-Next-Offset: a"),
            *("stream-next-offset: c", "Stream-Next-Offset: a,b", "Stream-Up-To-Date: true"),
            *("Stream-Closed: true", "Stream-Cursor: 7", 'ETag: "x"', "ETag: bare", 'ETag: W/"w"'),
            *("Cache-Control: max-age=60", "Cache-Control: no-store", "Cache-Control: no-cache"),
            *("Cache-Control: private", "Cache-Control: public, max-age=60", "Pragma: no-cache"),
            *("CDN-Cache-Control: max-age=5", "Expires: Fri, 15 Jan 2027 09:00:00 GMT"),
            *("Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT", "Age: 3", "Age: soon"),
            "Date: Fri, 15 Jan 2027 07:59:58 GMT",
            *("Vary: Accept-Encoding", "Vary: *", "Vary: X-Plain", "Set-Cookie: a=1"),
            *("Surrogate-Key: k", "X-Cache: HIT", "X-Cache-Hits: 4", "X-Request-Id: o"),
            *("Via: 1.1 other", "Connection: X-Hop", "Connection: close", "X-Hop: 1"),
            *("Location: {origin}/edge/other", "Content-Encoding: gzip", "X-Text: é %s %(etag)s"),
            *("Content-Type: application/json", "Access-Control-Allow-Origin: https://a.example"),
        ]
    ),
    max_size=7,
)
ASKED = st.lists(
    st.sampled_from(
        [
            *(
                "Accept: */*",
                "Accept-Encoding: gzip",
                "Accept-Encoding: br;q=0, GZIP",
                "X-Plain: 1",
            ),
            *("Authorization: Bearer a", "Cookie: a=1", "Via: 1.1 other", "Via: 1.1 headgate-test"),
            *("Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4", "X_Under: 1", "X-Hop: 1"),
            *("Connection: keep-alive, X-Hop", "Range: bytes=1-2"),
            *('If-None-Match: "x"', "If-Modified-Since: Fri, 15 Jan 2027 07:00:00 GMT"),
            *("Cache-Control: only-if-cached", "X-Request-Id: asked", "X-Text: é"),
            *("Origin: https://a.example", "Content-Length: 0", "Expect: 100-continue"),
            "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ]
    ),
    max_size=2,
    unique_by=lambda line: line.split(":")[0],
)
QUERIES = st.sampled_from(
    [
        *("?offset=a", "?offset=a", "?offset=-1", "?offset=now", "", "?offset=0_7"),
        *("?x=1&offset=a", "?offset=a&offset=b"),
    ]
)
BODYLESS = ("204", "304")
END_OF_NOTHING: Asked = (0, "?offset=a", [], ("200 OK", [], 0, "whole"))
CHECKED = ['ETag: "x"', "Cache-Control: no-cache", "Stream-Next-Offset: b"]
CHANGES: list[Answered] = [
    ("200 OK", CHECKED, 10, "whole"),
    ("304 Not Modified", ['ETag: "x"'], 0, "whole"),
    ("304 Not Modified", ['ETag: "y"'], 0, "whole"),
]
VALIDATED: list[Asked] = [(0, "?offset=a", [], answered) for answered in CHANGES]
# Of three streams, as one may be kept.
SURE: list[Asked] = [(stream, "?offset=a", [], ("200 OK", [], 10, "whole")) for stream in range(3)]
END: Asked = (0, "?offset=a", [], AN_END)
# Of a stream without further data, which only the end of the body shows.
END_IN_CHUNKS: Asked = (
    0,
    "?offset=a",
    [],
    ("200 OK", [*AN_END[1], "Cache-Control: no-store"], 0, "chunked"),
)
NO_HTTP: Asked = (1, "?offset=a", [], ("200 OK", [], 0, "no HTTP"))


ANSWERED = st.tuples(
    st.sampled_from(STATUSES),
    SAID,
    st.sampled_from([0, 1, 10, 100_000]),  # whether a longer one comes at once is luck
    st.sampled_from([*HOW, *(["whole"] * 19)]),
)
# On one stream, as often as not: what was kept of it decides about the next.
EXCHANGE = st.tuples(st.integers(0, 2), QUERIES, ASKED, ANSWERED)
# Who asks where a guard judges: mostly the same, who may.
WHO = st.sampled_from(
    [
        *([bearer("all")] * 5),
        *(bearer("late"), bearer("ann"), bearer("gone"), "X-Nobody: 1", "Authorization: Basic a"),
        *(f"Cookie: {COOKIE}={token('all')}", f"Cookie: b=2; {COOKIE}={token('all')}"),
        *(f"?token={token('all')}", f"?token={token('gone')}", f"?tok%65n={token('all')}"),
    ]
)


@pytest.mark.timeout(150 + 3 * EXAMPLES)
@pytest.mark.parametrize(
    ("route", "options"),
    [
        ({}, {}),
        ({"stale_if_error": 60}, {}),
        ({"identity_headers": ("x-plain",)}, {"cors_origins": ("https://a.example",)}),
        ({}, {"log_requests": "info"}),
        ({"auth": "tokens"}, {"log_requests": "info"}),
        pytest.param(
            {"auth": "tokens", "conceal": "on", "anonymous": ["append"]},
            {},
            id="a-route-that-conceals",
        ),
        ({"auth": "origin"}, {"log_requests": "info"}),
    ],
)
def test_a_read_has_the_same_response_whether_or_not_its_head_is_known(
    route: dict[str, object],
    options: dict[str, object],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "headgate")
    numbers = count()
    statuses: set[int] = set()
    is_guarded = "auth" in route
    if is_guarded:
        options = {**options, "tokens_file": str(tokens_file(tmp_path))}

    async def once(pair: Pair, exchanges: list[Exchange]) -> None:
        for side in pair:
            side.gateway.services.store.clear()
        path = f"{EDGE}/{next(numbers)}"
        asked = [
            (_asked(f"{path}-{stream}{query}", lines, who), partial(played, answered))
            for (stream, query, lines, answered), who in exchanges
        ]
        if route.get("auth") == "origin":  # which is asked first
            script = partial(played, ("200 OK", ["Cache-Control: no-store"], 0, "whole"))
            let_in = [_asked(f"{path}-{n}?offset=-1", [], bearer("all")) for n in range(3)]
            asked = [(read, script) for read in let_in] + asked
        told: list[Told] = await pair.same(asked)
        statuses.update(one.status for one in told)

    with running_pair(route, options, bearer("all")) as (runner, pair):
        who = WHO if is_guarded else st.just("")
        sure = [(asked, bearer("all") if is_guarded else "") for asked in SURE]
        runner.run(once(pair, sure))
        for asked in ([END_OF_NOTHING, END], [NO_HTTP], [END_IN_CHUNKS], VALIDATED):
            runner.run(once(pair, [(one, bearer("all")) for one in asked]))

        @settings(max_examples=EXAMPLES)
        @given(st.lists(st.tuples(EXCHANGE, who), min_size=1, max_size=5))
        def for_all(exchanges: list[Exchange]) -> None:
            runner.run(once(pair, exchanges))

        for_all()
    assert {200, 502} <= statuses


KEPT = ["Cache-Control: max-age=0, stale-while-revalidate=60", 'ETag: "x"', "Stream-Next-Offset: b"]


@pytest.mark.timeout(150 + 3 * EXAMPLES)
def test_a_refreshed_response_is_cached_equally_whether_or_not_its_head_is_known() -> None:
    numbers = count()
    caches: set[str | None] = set()

    async def once(pair: Pair, renewed: Answered) -> None:
        for side in pair:
            side.gateway.services.store.clear()
        read = get(f"{EDGE}/renewed-{next(numbers)}?offset=a")
        last: Answered = ("200 OK", ["Cache-Control: max-age=60"], 3, "whole")
        answers: list[Answered] = [("200 OK", KEPT, 10, "whole"), renewed, last]
        told = await pair.same([(read, partial(played, answered)) for answered in answers])
        assert dict(told[1].fields)["x-cache"] == "STALE"
        caches.update(dict(one.fields)["x-cache"] for one in told[2:])

    with running_pair({}, {}) as (runner, pair):

        @settings(max_examples=EXAMPLES)
        @given(ANSWERED)
        @example(("304 Not Modified", ['ETag: "x"', "Cache-Control: max-age=60"], 0, "whole"))
        @example(("304 Not Modified", ['ETag: "y"'], 0, "whole"))
        @example(("200 OK", ["Cache-Control: max-age=60"], 10, "whole"))
        @example(("503 Later", [], 0, "whole"))
        @example(("404 Not Found", [], 0, "whole"))
        def for_all(renewed: Answered) -> None:
            runner.run(once(pair, renewed))

        for_all()
    assert caches == {"HIT", "MISS", "STALE"}


def _asked(target: str, lines: list[str], who: str) -> bytes:
    """A read; `who` is a line of its head, or a part of its query."""
    if not who.startswith("?"):
        return get(target, *lines, *([who] if who else []))
    return get(f"{target}{'&' if '?' in target else '?'}{who[1:]}", *lines)
