"""An append has the same result whether or not what is alike was remembered, whatever is said."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.edge.both_ways import EXAMPLES, Pair, Told, running_pair
from tests.support.examples import at_least
from tests.support.guarded_gateway import bearer, token, tokens_file
from tests.support.raw_origin import answer
from tests.support.serving import EDGE, passed_appends_of, post

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.raw_origin import Play, Wire

Answered = tuple[str, list[str], int, str]
Exchange = tuple[tuple[list[str], int, Answered], tuple[str, ...]]
URL = "{origin}"  # in what an origin says: its own
STATUSES = [
    *("200 OK", "201 Created", "204 No Content", "204 Nothing", "206 Partial", "299 X %s %d"),
    *("301 Moved Permanently", "304 Not Modified", "400 Bad Request", "404 Not Found", "409 No"),
    *("410 Gone", "413 Too Large", "429 Slow", "500 Oh", "502 Bad Gateway", "503 Later"),
    *("504 Timeout", "599 X"),
]
SAID = st.lists(
    st.sampled_from(
        [
            *("Stream-Next-Offset: 9", "stream-next-offset: 10", "Stream-Next-Offset:"),
            *("Stream-Closed: true", "Producer-Seq: 3", "Producer-Epoch: 1"),
            *("X-Stream-Multi: true", f"Location: {URL}/edge/other", "Location: /edge/a%20b?x"),
            *(f"Content-Location: {URL}/edge/moved", 'ETag: "a"', "ETag: W/%s"),
            *("Cache-Control: max-age=5", "Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT"),
            *("Date: Fri, 15 Jan 2027 07:59:58 GMT", "Age: 3", "Age: 3", "Age: soon"),
            *("Vary: Origin", "Access-Control-Allow-Origin: https://a.example"),
            *("Set-Cookie: a=1", "Set-Cookie: b=2", "X-Cache: HIT", "X-Cache-Hits: 4"),
            *("X-Request-Id: of-the-origin", "Cache-Status: Other; hit", "Alt-Svc: h2"),
            *("Via: 1.1 other", "Connection: X-Hop", "Connection: close", "X-Hop: 1"),
            *("X-Twice: 1", "X-Twice:   2  ", "X-Format: 100 %s %d %%", "X-Text: é"),
            *("Retry-After: 2", "Content-Type: application/json"),
        ]
    ),
    max_size=8,
)
ASKED = st.lists(
    st.sampled_from(
        [
            *("Stream-Closed: true", "Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0"),
            *("Authorization: Bearer a", "Cookie: a=1; headgate_session=x", "X-User: ann"),
            *("Via: 1.1 other", "Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4"),
            *("X-Forwarded-Proto: https", "X-Forwarded-Host: elsewhere", "X_Under: 1"),
            *("Connection: keep-alive, X-Hop", "X-Hop: 1"),
            "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            *("If-Match: a", "Accept: */*", "X-Text: é", "X-Stream-Multi: true"),
            *("X-Request-Id: asked", "Origin: https://a.example", "Expect: 100-continue"),
            "Content-Encoding: gzip",
        ]
    ),
    max_size=5,
    unique_by=lambda line: line.split(":")[0],
)
HOW = ["whole", "in two", "chunked", "until the end", "cut", "nothing", "no HTTP", "more", "1.0"]
ANSWERED = st.tuples(
    st.sampled_from(STATUSES),
    SAID,
    st.sampled_from([0, 10, 100_000, 2 << 20]),
    st.sampled_from([*HOW, *(["whole"] * 9)]),
)
EXCHANGE = st.tuples(ASKED, st.integers(0, 30), ANSWERED)
# From the third on, an append is known by its fields, and its answer by what the last one said.
ALIKE: list[tuple[list[str], int, Answered]] = [
    *([([], 10, ("204 No Content", ["Stream-Next-Offset: 9"], 0, "whole"))] * 4),
    *([([], 10, ("200 OK", ["Stream-Next-Offset: 10", "X-Twice: 1"], 0, "whole"))] * 4),
]
# Who writes where a guard judges: mostly the same, who may.
WHO = st.sampled_from(
    [
        *([(bearer("all"),)] * 6),
        *((bearer("writer"),), (bearer("ann"),), (bearer("gone"),), ()),
        (f"Cookie: __Secure-headgate={token('all')}",),
    ]
)


def played(answered: Answered, url: str) -> Play:
    """An origin's answer to an append; to the question where the stream ends, another."""
    status, said, size, how = answered
    if how == "more" and size:
        size = 10  # with a long one it is luck whether that comes with it, or too late to matter
    body = b"x" * size if status[:3] not in {"204", "304"} else b""
    whole = answer(body, *(line.replace(URL, url) for line in said), status=status)
    head, _, _ = whole.partition(b"\r\n\r\n")
    open_head = b"\r\n".join(
        line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")
    )

    chunked = open_head + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    parts = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    packets, ends = {
        "in two": ([whole[: len(head) + 6], whole[len(head) + 6 :]], False),
        "chunked": ([chunked + parts + b"0\r\n\r\n"], False),
        "until the end": ([open_head + b"\r\n\r\n" + body], True),
        "cut": ([whole[: len(head) + 4]], True),  # how much of a body counts then is luck
        "nothing": ([], True),
        "no HTTP": ([b"what?\r\n\r\n"], True),
        "more": ([whole + b"more"], False),
        "1.0": ([whole.replace(b"HTTP/1.1", b"HTTP/1.0", 1)], True),
    }.get(how, ([whole], False))

    async def play(wire: Wire) -> None:
        if wire.heard.method == "HEAD":
            await wire.send(answer(b"", "Stream-Next-Offset: 77", "X-Stream-Multi: true"))
            return
        await wire.body()
        for packet in packets:
            await wire.send(packet)
            await asyncio.sleep(0)
        if ends:
            await wire.close()

    return play


@pytest.mark.timeout(150 + 3 * EXAMPLES)
@pytest.mark.parametrize(
    ("route", "options"),
    [
        ({}, {}),
        ({"identity_headers": ("x-user",)}, {"cors_origins": ("https://a.example",)}),
        ({"auth": "tokens"}, {}),
        ({"auth": "origin"}, {}),
    ],
)
def test_an_append_has_the_same_result_whether_or_not_its_fields_are_cached(
    route: dict[str, object], options: dict[str, object], tmp_path: Path
) -> None:
    is_guarded = "auth" in route
    if is_guarded:
        options = {**options, "tokens_file": str(tokens_file(tmp_path))}
    numbers = count()
    statuses: set[int] = set()

    async def once(pair: Pair, exchanges: list[Exchange]) -> None:
        path = f"{EDGE}/{next(numbers)}"
        asked = [
            (post(path, b"a" * size, *lines, *who), partial(played, answered))
            for (lines, size, answered), who in exchanges
        ]
        told: list[Told] = await pair.same(asked)
        statuses.update(one.status for one in told)

    with running_pair(route, options, bearer("all")) as (runner, pair):
        who = WHO if is_guarded else st.just(())
        alike_ones = [(one, (bearer("all"),) if is_guarded else ()) for one in ALIKE]

        @settings(max_examples=EXAMPLES)
        @given(st.lists(st.tuples(EXCHANGE, who), min_size=1, max_size=4))
        @example(alike_ones)
        def for_all(exchanges: list[Exchange]) -> None:
            runner.run(once(pair, exchanges))

        for_all()
        plans = len(pair.knowing.gateway.plans)
        patterns = passed_appends_of(pair.knowing.gateway)._patterns
    if route.get("auth") != "origin":  # which knows its readers by their fields
        assert plans >= 1, "too few were alike"
        assert len(patterns) > 1, "too few were answered alike"
    assert len(statuses) >= at_least(8, 2), "answers of too few kinds"
