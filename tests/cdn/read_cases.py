"""Cases of readers who do not wait, and of writers: what is kept, for whom, and for how long."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import time
from http import HTTPStatus
from statistics import median
from typing import TYPE_CHECKING

from tests.cdn.edges import GRACE_S
from tests.cdn.findings import Fault, finding
from tests.cdn.live_cases import MOST_AT_ORIGIN, crowd
from tests.cdn.origin import AGED, AGED_LIFETIME_S, AGED_S, AGEING, PERSONAL, STREAMS
from tests.cdn.viewers import Crowd, milliseconds
from tests.support.http1 import Client, ask, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.cdn.edges import Edge
    from tests.cdn.findings import Finding
    from tests.support.http1 import Answer

TAIL_S = 2.0  # a copy of one second, and one more where a server counts in whole ones
# nginx does: what it keeps from the beginning of a second by the clock, it keeps for all of TAIL_S.
# What it keeps from later ends so much sooner, the time that a busy machine has to answer in.
LATE_IN_SECOND_S = 0.3
STALLED_S = 1.0  # an answer in this time has not waited for a stalled origin
FRESH_S = 2.1  # after this, what is fresh for a second is stale where seconds are whole ones, too
MOST_OF_LIFETIME = 1.1  # where seconds are whole ones, a copy may end up to a second late
LEAST_HITS = 0.95  # of reads of finished answers
PAGES = 20
NO_CACHE = {"Cache_Control": "no-cache", "Pragma": "no-cache"}  # as browsers send for "no-store"
BINARY = "application/octet-stream"
BODY = 1 << 20
# Above a mebibyte curl asks first whether it may send; and many proxies take no more by default.
LARGE_BODY = 1_100_000


def whole_chunk(edge: Edge, prefix: str = STREAMS) -> str:
    """A target whose answer never changes: what follows the first record of a closed stream."""
    stream = edge.stream(b"first", path=edge.origin.path(prefix))
    stream.append(b"second", Stream_Closed="true")
    return f"{stream.path}?offset={stream.tail}"


async def reads_at_once(edge: Edge) -> Finding:
    """A page opens: everybody reads an open stream from its beginning."""
    stream = edge.stream(b"before")
    before = edge.origin.asked().reads
    async with crowd(edge, edge.viewers) as readers:
        readers.ask(f"{stream.path}?offset=-1")
        answers = await readers.answers()
    reads = edge.origin.asked().reads - before
    took = [one.at - readers.began for one in answers if one.answer.body == b"before"]
    return finding(
        f"{edge.viewers} → {reads}, {milliseconds(took)}",
        {
            Fault.LOST: len(took) < edge.viewers,
            Fault.NO_HITS: reads > edge.viewers // 10,
            Fault.SERIALISED: median(took or [0]) > GRACE_S,
        },
    )


async def reordered_query(edge: Edge) -> Finding:
    """The same read three times, the last with its query in another order."""
    path, _, offset = whole_chunk(edge).partition("?")
    before = edge.origin.asked().reads
    bodies = {edge.ask("GET", f"{path}?cursor=5&{offset}").body for _ in range(2)}
    reads = edge.origin.asked().reads - before
    bodies.add(edge.ask("GET", f"{path}?{offset}&cursor=5").body)
    all_reads = edge.origin.asked().reads - before
    return finding(
        f"3 → {all_reads}",
        {
            Fault.LOST: bodies != {b"second"},
            Fault.NO_HITS: reads > 1,
            Fault.ORDER_MATTERS: all_reads > reads,
        },
    )


async def users_apart(edge: Edge) -> Finding:
    """Two readers and an anonymous one, twice each, at a URL that tells each who he is."""
    target = f"{edge.origin.path(PERSONAL)}?offset=-1"
    users = {"Bearer A": "Authorization", "user=B": "Cookie", "Bearer C": "Authorization"}
    wrong = []
    for _ in range(2):
        for credentials, header in users.items():
            body = edge.ask("GET", target, None, **{header: credentials}).body.decode()
            wrong += [body] * (body != credentials)
        body = edge.ask("GET", target).body.decode()
        wrong += [body] * (body != "nobody")
    return finding(f"{len(wrong)} of 8 wrong", {Fault.MIXED_USERS: bool(wrong)})


async def credential_cookie(edge: Edge) -> Finding:
    """Reads with cookies that are no credentials, and then with the one cookie that is."""
    target = whole_chunk(edge)
    reads = [edge.origin.asked().reads]
    bodies = set()
    for cookies in (
        *("_ga=GA1.1", "_ga=GA1.2", "a=b; not__Secure-headgate=c"),
        *("__Secure-headgate=token", "_ga=GA1.3; __Secure-headgate=token; a=b"),
    ):
        bodies.add(edge.ask("GET", target, None, Cookie=cookies).body)
        reads.append(edge.origin.asked().reads)
    others, own = reads[3] - reads[0], reads[-1] - reads[3]
    return finding(
        f"3 → {others}, 2 → {own}",
        {
            Fault.LOST: bodies != {b"second"},
            Fault.NO_HITS: others > 1,
            Fault.MIXED_USERS: own < 1,
        },
    )


async def past_browser_caches(edge: Edge) -> Finding:
    """A read and equal long-polls of pages whose `fetch` has `cache: "no-store"`."""
    target = whole_chunk(edge)
    before = edge.origin.asked().reads
    bodies = [edge.ask("GET", target, None, **fields).body for fields in ({}, NO_CACHE, NO_CACHE)]
    reads = edge.origin.asked().reads - before
    stream, before = edge.stream(b"before"), edge.polls()
    async with crowd(edge, PAGES) as pages:
        pages.ask(stream.poll(stream.tail), **NO_CACHE)
        await edge.polls_at_rest(before)
        stream.append(b"news")
        bodies += [one.answer.body for one in await pages.answers()]
    polls = edge.polls() - before
    return finding(
        f"3 → {reads}, {PAGES} → {polls}",
        {
            Fault.LOST: bodies != [b"second"] * 3 + [b"news"] * PAGES,
            Fault.NO_HITS: reads > 1,
            Fault.NO_COLLAPSE: polls > MOST_AT_ORIGIN,
        },
    )


async def finished_answers(
    edge: Edge, answers: int = 20, rounds: int = 30, every_s: float = 0.2
) -> Finding:
    """Pages show answers that have ended, and read each of them again and again."""
    streams = [edge.stream(path=edge.origin.path(edge.prefix)) for _ in range(answers)]
    for stream in streams:
        stream.append(b"answer", Stream_Closed="true")
    targets = [f"{stream.path}?offset=-1" for stream in streams]
    before = edge.origin.asked(edge.prefix).reads
    began, bodies = time.monotonic(), set[bytes]()
    for number in range(rounds):
        await asyncio.sleep(max(0.0, began + number * every_s - time.monotonic()))
        for target in targets:
            bodies.add((await asyncio.to_thread(edge.ask, "GET", target)).body)
    reads = edge.origin.asked(edge.prefix).reads - before
    ratio = 1 - reads / (answers * rounds)
    return finding(
        f"{ratio:.0%} from copies",
        {Fault.LOST: bodies != {b"answer"}, Fault.NO_HITS: ratio < LEAST_HITS},
    )


async def finished_answers_whole(edge: Edge) -> Finding:
    """The same for three minutes, in which a lifetime of a minute is over twice."""
    return await finished_answers(edge, answers=60, rounds=90, every_s=2.0)


async def head_around_append(edge: Edge) -> Finding:
    """HEAD, when a GET of the same URL has been kept, before and after an append."""
    stream = edge.stream(b"before")
    tails = [stream.tail]
    edge.ask("GET", stream.path)
    seen = [edge.ask("HEAD", stream.path).next_offset]
    tails.append(stream.append(b"news"))
    seen.append(edge.ask("HEAD", stream.path).next_offset)
    right = [one == other for one, other in zip(seen, tails, strict=True)]
    return finding(f"{sum(right)} of 2 right", {Fault.HEAD_OLD: not all(right)})


async def writes(edge: Edge) -> Finding:
    """Every operation through the CDN; the body of an append is a mebibyte of noise."""
    path, body = edge.origin.path(), os.urandom(BODY)
    statuses = [
        edge.ask("PUT", path, Content_Type=BINARY).status,
        edge.ask("POST", path, body, Content_Type=BINARY).status,
        edge.ask("OPTIONS", path).status,
    ]
    stored = edge.stored(path)
    statuses.append(edge.ask("DELETE", path).status)
    return finding(
        f"{len(stored) >> 10} KiB of {BODY >> 10}",
        {
            Fault.WRITE_LOST: stored != body,
            Fault.NOT_PASSED: statuses != [201, 204, 204, 204],
        },
    )


async def large_append(edge: Edge) -> Finding:
    """An append of 1.1 MB with the `Expect: 100-continue` of curl."""
    path, body = edge.origin.path(), os.urandom(LARGE_BODY)
    assert ask(edge.origin.port, "PUT", path, Content_Type=BINARY).status == 201
    client = await Client.connect(edge.port)
    try:
        client.send(request("POST", path, body, Content_Type=BINARY, Expect="100-continue"))
        while (answer := await client.answer()).status == HTTPStatus.CONTINUE:
            pass  # a proxy may say so itself, and pass on that its origin does
    finally:
        client.close()
    return finding(f"{answer.status}", {Fault.WRITE_LOST: edge.stored(path) != body})


async def empty_tail(edge: Edge) -> Finding:
    """A reader at the tail who asks again and again: how soon he sees an append."""
    stream = edge.stream(b"before")
    target = f"{stream.path}?offset={stream.tail}"
    now = time.time()  # noqa: TID251 - the clock by which nginx counts
    await asyncio.sleep((LATE_IN_SECOND_S - now) % 1)
    assert edge.ask("GET", target).body == b""
    assert edge.ask("GET", target).body == b""
    stream.append(b"news")
    began = time.monotonic()
    while (took := time.monotonic() - began) <= TAIL_S:
        if edge.ask("GET", target).body == b"news":
            break
        await asyncio.sleep(0.02)  # his pace
    is_frozen = took > TAIL_S
    shown = f"not in {TAIL_S:.1f} s" if is_frozen else f"{took:.1f} s"
    return finding(shown, {Fault.TAIL_FROZEN: is_frozen})


async def now_twice(edge: Edge) -> Finding:
    """`offset=now` before and after an append."""
    stream = edge.stream(b"before")
    target = f"{stream.path}?offset=now"
    seen = [edge.ask("GET", target).next_offset]
    tail = stream.append(b"news")
    seen.append(edge.ask("GET", target).next_offset)
    is_old = seen != [stream.tail, tail]
    return finding("old" if is_old else "fresh", {Fault.NOW_OLD: is_old})


async def stale_while_revalidate(edge: Edge) -> Finding:
    """A copy that is stale, while the origin answers nothing; then it is made fresh behind."""
    target = whole_chunk(edge, AGEING)
    before = edge.origin.asked().reads
    first = edge.ask("GET", target)
    await asyncio.sleep(FRESH_S)  # the time that it ages in
    reader = await Crowd.connect(edge.port, 1, STALLED_S)
    try:
        with edge.origin.stalled():
            reader.ask(target)
            given = await reader.answers()
        is_given = [one.answer.body for one in given] == [first.body]
        if is_given:  # he stays: some give up what nobody waits for any more
            await until(lambda: edge.origin.asked().reads > before + 1, "it to be made fresh")
    finally:
        reader.close()
    return finding(
        milliseconds([one.at - reader.began for one in given]) if is_given else "waits for it",
        {Fault.NO_STALE: not is_given},
    )


async def age(edge: Edge) -> Finding:
    """A copy of a response that is old on its arrival, for as long as it is served."""
    target = f"{edge.origin.path(AGED)}?offset=0000"
    began = time.monotonic()
    first = edge.ask("GET", target).body

    def has_ended() -> bool:
        return edge.ask("GET", target).body != first or served() > 2

    def served() -> float:
        return (AGED_S + time.monotonic() - began) / AGED_LIFETIME_S

    await until(has_ended, "the copy to end")
    share = served()
    return finding(f"for {share:.2f} of it", {Fault.TOO_OLD: share > MOST_OF_LIFETIME})


async def not_modified(edge: Edge) -> Finding:
    """A reader who has the answer, by its tag."""
    target = whole_chunk(edge)
    tag = edge.ask("GET", target).headers["etag"]
    before = edge.origin.asked().reads
    again = edge.ask("GET", target, If_None_Match=tag)
    reads = edge.origin.asked().reads - before
    return finding(
        f"{again.status}, {reads} at the origin",
        {Fault.NO_304: again.status != 304, Fault.CONFIRMED_BEHIND: reads > 0},
    )


async def compression(edge: Edge) -> Finding:
    """Token events of a model, read with and without gzip, under all that must go on to work."""
    path = edge.origin.path(edge.prefix)
    json_type = "application/json"
    made = ask(edge.origin.port, "PUT", path, b'[{"begins":true}]', Content_Type=json_type)
    closing = {"Content_Type": json_type, "Stream_Closed": "true"}
    ask(edge.origin.port, "POST", path, token_events(), **closing)
    target, gzip_taken = f"{path}?offset={made.next_offset}", {"Accept_Encoding": "gzip"}
    packed = [edge.ask("GET", target, None, **gzip_taken) for _ in range(2)]
    plain = [edge.ask("GET", target) for _ in range(2)]
    ranged = edge.ask("GET", target, None, **gzip_taken, Range="bytes=0-99")
    private = edge.ask("GET", target, None, **gzip_taken, Authorization="Bearer A")
    live = edge.ask("GET", f"{target}&live=long-poll", None, **gzip_taken)
    tags = {answer.get("etag") or "" for answer in (*packed, *plain)}
    strong = {one.get("etag") for one in plain if not (one.get("etag") or "").startswith("W/")}
    again = [edge.ask("GET", target, None, **gzip_taken, If_None_Match=tag) for tag in tags]
    again += [edge.ask("GET", target, None, If_None_Match=tag) for tag in tags]
    is_packed = [answer.get("content-encoding") == "gzip" for answer in packed]
    bodies = {unpacked(answer) for answer in (*packed, *plain, ranged, private, live)}
    return finding(
        f"{len(plain[0].body) / 1000:.0f} → {len(packed[1].body) / 1000:.0f} kB",
        {
            Fault.NOT_COMPRESSED: not all(is_packed),
            Fault.WRONG_CODING: bodies != {plain[0].body}
            or {answer.status for answer in again} != {304}
            or (
                any(is_packed)
                and (
                    any((one.get("etag") or "") in strong for one in packed)
                    or not all("accept-encoding" in vary(answer) for answer in (*packed, *plain))
                )
            ),
            Fault.LENGTH_SHOWN: any("content-encoding" in one.headers for one in (private, live)),
        },
    )


def token_events() -> bytes:
    """Return 282 kB of JSON messages, as a model's answer has them."""
    words = ("the", " answer", " of", " a", " model", " comes", " in", " tokens", ".", " It")
    events = [
        {"type": "delta", "index": 0, "id": f"msg_{number:05}", "text": words[number * 7 % 10]}
        for number in range(4340)
    ]
    return json.dumps(events).encode()


def unpacked(answer: Answer) -> bytes:
    """Return the body as its reader sees it."""
    return gzip.decompress(answer.body) if "content-encoding" in answer.headers else answer.body


def vary(answer: Answer) -> str:
    return (answer.get("vary") or "").lower()


async def timing(edge: Edge) -> Finding:
    """What a page of another site can measure of its reads, without and with credentials."""
    target = whole_chunk(edge)
    reads = [edge.ask("GET", target, None, Origin="https://app.example") for _ in range(2)]
    private = edge.ask("GET", target, None, Origin="https://app.example", Authorization="Bearer A")
    told = [answer.get("server-timing") for answer in reads]
    allowed = {answer.get("timing-allow-origin") for answer in reads}
    return finding(
        ", ".join((one or "nothing").removeprefix("cache;desc=") for one in told),
        {
            Fault.NO_TIMING: (told, allowed) != (["cache;desc=miss", "cache;desc=hit"], {"*"}),
            Fault.TIMED_PRIVATE: "timing-allow-origin" in private.headers,
        },
    )


async def encoded_slash(edge: Edge) -> Finding:
    """Two streams whose paths are equal once they are decoded."""
    name = edge.origin.path()
    streams = [edge.stream(data, path=f"{name}{slash}b") for slash, data in SLASHES.items()]
    seen = [edge.ask("GET", f"{one.path}?offset=-1").body for one in streams]
    is_mixed = seen != list(SLASHES.values())
    return finding("mixed" if is_mixed else "apart", {Fault.MIXED_STREAMS: is_mixed})


SLASHES = {"/": b"plain", "%2F": b"encoded"}
