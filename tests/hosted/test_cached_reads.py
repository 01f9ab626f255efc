"""One stream as browsers and shared caches see it, response by response and header by header.

The values stand here as they are sent: none of them is taken from the code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.serving import get, offset, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.event_stream import Event
    from tests.support.http1 import Answer
    from tests.support.serving import Serving

CHUNK = 262_144  # bytes of a whole chunk
START, NEXT, END = offset(0), offset(CHUNK), offset(CHUNK + 4)
TYPE = "text/plain; charset=utf-8"
MINUTE = {"chunk_max_age": 60}  # the default of a log in memory or in Redis
HISTORY, LAST, BEYOND = (get(f"s?offset={place}") for place in (START, NEXT, END))
POLL = f"s?offset={NEXT}&live=long-poll"
PUBLIC = "public, max-age=60, stale-while-revalidate=300"
NOW_S, EPOCH_S = 1_800_000_000, 1_728_432_000  # of the tests' clock, and 2024-10-09T00:00:00Z
CURSOR = str((NOW_S - EPOCH_S) // 20)


async def fill(gateway: Serving) -> None:
    """Create a stream of one whole chunk, and four bytes after it."""
    assert gateway.clock.now == NOW_S
    created = await gateway.ask(put("s", body=b"x" * CHUNK, content_type=TYPE))
    appended = await gateway.ask(post("s", b"last", content_type=TYPE))
    assert (created.status, appended.status) == (201, 204)


async def close(gateway: Serving) -> None:
    closed = await gateway.ask(request("POST", "s", "Stream-Closed: true"))
    assert (closed.status, closed.get("Stream-Closed")) == (204, "true")


def facts(answer: Answer) -> dict[str, str]:
    """The header fields about the stream and for caches."""
    names = ("cache-control", "cdn-cache-control", "surrogate-control", "etag", "content-type")
    return {
        name: value for name, value in answer.fields if name in names or name.startswith("stream-")
    }


def is_tag(tag: str, start: str, end: str, mark: str = "") -> bool:
    """Whether a tag is made of a stream's own id, this range and this mark."""
    return re.fullmatch(rf'"[0-9a-f]+:{start}:{end}{mark}"', tag) is not None


# ---------------------------------------------------------------- history


async def test_history_is_public_for_a_minute_and_may_be_stale_for_five() -> None:
    async with serving(own=MINUTE) as gateway:
        await fill(gateway)
        answer = await gateway.ask(HISTORY)
        told = facts(answer)
        assert is_tag(told.pop("etag"), START, NEXT)
        assert told == {
            "cache-control": PUBLIC,
            "content-type": TYPE,
            "stream-next-offset": NEXT,
            "stream-cursor": CURSOR,
        }
        assert (answer.status, answer.body) == (200, b"x" * CHUNK)


@pytest.mark.parametrize("cache_size", [0, 16 << 20], ids=["rendered-each-time", "cached"])
async def test_history_keeps_its_bytes_and_its_tag_when_the_stream_grows_and_closes(
    cache_size: int,
) -> None:
    async with serving(own=MINUTE, cache_size=cache_size) as gateway:
        await fill(gateway)
        first = await gateway.ask(HISTORY)
        await gateway.ask(post("s", b"more", content_type=TYPE))
        grown = await gateway.ask(HISTORY)
        await close(gateway)
        closed = await gateway.ask(HISTORY)
        assert grown.same == closed.same == first.same
        assert {grown.get("X-Cache"), closed.get("X-Cache")} == {"HIT" if cache_size else "MISS"}
        assert closed.body == b"x" * CHUNK
        known = await gateway.ask(get(f"s?offset={START}", f"If-None-Match: {first.get('ETag')}"))
        assert known.status == 304


async def test_the_copy_of_a_read_is_marked_with_its_hits_and_its_age() -> None:
    async with serving(own=MINUTE) as gateway:
        await fill(gateway)
        found = []
        for _ in range(3):
            answer = await gateway.ask(HISTORY)
            found.append([answer.get(name) for name in ("X-Cache", "X-Cache-Hits")])
            assert (answer.get("Age") or "").isdecimal()
        assert found == [["MISS", "0"], ["HIT", "1"], ["HIT", "2"]]


@pytest.mark.parametrize(
    "own", [MINUTE, {**MINUTE, "visibility": "private"}], ids=["public", "private"]
)
async def test_only_a_private_route_keeps_its_history_from_shared_caches(
    own: dict[str, object],
) -> None:
    async with serving(own=own) as gateway:
        await fill(gateway)
        word = own.get("visibility", "public")
        told = facts(await gateway.ask(HISTORY))
        assert told["cache-control"] == f"{word}, max-age=60, stale-while-revalidate=300"
        tail = facts(await gateway.ask(LAST))
        for name in ("cdn-cache-control", "surrogate-control"):
            assert tail.get(name) == (None if "visibility" in own else "public, max-age=1")


@pytest.mark.parametrize("origins", [("*",), ("https://a.test",)], ids=["any", "named"])
async def test_a_page_of_another_site_can_read_what_a_response_says_of_caches(
    origins: tuple[str, ...],
) -> None:
    async with serving(own=MINUTE, cors_origins=origins) as gateway:
        await fill(gateway)
        for read in (HISTORY, LAST, get(POLL)):
            answer = await gateway.ask(read[:-2] + b"Origin: https://a.test\r\n\r\n")
            assert answer.get("Access-Control-Allow-Origin") in {"*", "https://a.test"}
            exposed = (answer.get("Access-Control-Expose-Headers") or "").split(", ")
            assert exposed == ["*"] or {"X-Cache", "X-Cache-Hits", "Age"} <= {*exposed}
            assert None not in (answer.get("X-Cache"), answer.get("Age"))


# ---------------------------------------------------------------- HEAD and validators


async def test_a_head_request_tells_the_tail_and_the_closure_and_is_stored_nowhere() -> None:
    async with serving(own=MINUTE) as gateway:
        await fill(gateway)
        head = request("HEAD", "s")
        told = {"cache-control": "no-store", "content-type": TYPE, "stream-next-offset": END}
        assert facts(await gateway.ask(head)) == told  # an open stream has no Stream-Closed
        await close(gateway)
        assert facts(await gateway.ask(head)) == {**told, "stream-closed": "true"}
        await gateway.ask(put("empty", "Stream-Closed: true"))
        empty = await gateway.ask(request("HEAD", "empty"))
        assert (empty.next_offset, empty.get("Stream-Closed")) == (START, "true")


@pytest.mark.parametrize("cache_size", [0, 16 << 20], ids=["rendered-each-time", "cached"])
async def test_a_read_is_confirmed_by_its_tag_without_a_body_until_the_stream_closes(
    cache_size: int,
) -> None:
    async with serving(own=MINUTE, cache_size=cache_size) as gateway:
        await fill(gateway)
        whole = await gateway.ask(LAST)
        tag = whole.get("ETag") or ""
        assert is_tag(tag, NEXT, END, ":tail")
        again = get(f"s?offset={NEXT}", f"If-None-Match: {tag}")
        for _ in range(3):
            same = await gateway.ask(again)
            assert (same.status, same.get("ETag"), same.body) == (304, tag, b"")
            assert len(same.wire) < 1000
        await close(gateway)
        closed = await gateway.ask(again)
        assert (closed.status, closed.body, closed.get("Stream-Closed")) == (200, b"last", "true")
        assert is_tag(closed.get("ETag") or "", NEXT, END, ":closed")


# ---------------------------------------------------------------- closed streams


async def test_the_data_and_the_end_of_a_closed_stream_are_two_responses_that_caches_store() -> (
    None
):
    async with serving(own=MINUTE) as gateway:
        await fill(gateway)
        await close(gateway)
        for read, start, body in ((LAST, NEXT, b"last"), (BEYOND, END, b"")):
            answer = await gateway.ask(read)
            told = facts(answer)
            assert is_tag(told.pop("etag"), start, END, ":closed")
            assert told == {
                "cache-control": PUBLIC,
                "content-type": TYPE,
                "stream-next-offset": END,
                "stream-up-to-date": "true",
                "stream-closed": "true",
            }
            assert (answer.status, answer.body) == (200, body)
        for read in (get("s?offset=now"), get(f"s?offset={END}&live=long-poll"), get(POLL)):
            answer = await gateway.ask(read)
            assert (answer.next_offset, answer.get("Stream-Closed")) == (END, "true")


async def test_the_end_of_a_closed_json_stream_is_an_empty_array() -> None:
    async with serving(own=MINUTE) as gateway:
        creation = put("j", "Stream-Closed: true", content_type="application/json", body=b"[1]")
        end = (await gateway.ask(creation)).next_offset
        for place, caching in ((end, PUBLIC), ("now", "no-store")):
            answer = await gateway.ask(get(f"j?offset={place}"))
            assert (answer.status, answer.body) == (200, b"[]")
            assert answer.get("Cache-Control") == caching


async def test_a_reader_of_a_closed_stream_learns_of_its_end_by_the_next_request() -> None:
    async with serving(own=MINUTE) as gateway:
        await gateway.ask(put("s", body=b"x" * CHUNK, content_type=TYPE))
        await gateway.ask(post("s", b"", "Stream-Closed: true"))
        answers = [await gateway.ask(get("s?offset=-1"))]
        while answers[-1].get("Stream-Closed") is None and len(answers) < 3:
            answers.append(await gateway.ask(get(f"s?offset={answers[-1].next_offset}")))
        assert b"".join(answer.body for answer in answers) == b"x" * CHUNK
        assert answers[-1].get("Stream-Closed") == "true"


# ---------------------------------------------------------------- live reads


async def test_a_poll_gets_the_cursor_of_the_clock_and_a_later_one_for_it() -> None:
    async with serving(own=MINUTE, long_poll_timeout=0.05) as gateway:
        await fill(gateway)
        first = await gateway.ask(get(POLL))
        assert (first.status, first.body, first.get("Stream-Cursor")) == (200, b"last", CURSOR)
        later = await gateway.ask(get(f"{POLL}&cursor={CURSOR}"))
        assert later.get("Cache-Control") == "public, max-age=20, stale-while-revalidate=0"
        told = int(later.get("Stream-Cursor") or 0) - int(CURSOR)
        assert 1 <= told <= 180  # intervals: an hour
        empty = f"s?offset={END}&live=long-poll&cursor={CURSOR}"
        answers = [await gateway.ask(get(empty)) for _ in range(2)]
        assert [one.status for one in answers] == [204, 204]
        (next_cursor,) = {one.get("Stream-Cursor") for one in answers}
        assert int(next_cursor or 0) > int(CURSOR)
        for passed_s, intervals in ((19.9, 0), (0.2, 1)):  # the clock began with an interval
            gateway.clock.advance(passed_s)
            answer = await gateway.ask(get(f"{POLL}&cursor={intervals}"))  # long since elapsed
            assert answer.get("Stream-Cursor") == str(int(CURSOR) + intervals)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_poll_waits_at_the_tail_and_gets_the_first_append_after_its_offset(
    version: str,
) -> None:
    """Requests of HTTP/1.0 have a handler; others are parked without one."""
    async with serving(own=MINUTE) as gateway:
        await fill(gateway)
        client = await gateway.connect()
        client.send(request("GET", f"s?offset={END}&live=long-poll", version=version))
        await until(lambda: gateway.limits.live_readers == 1)
        for data in (b"next", b"later"):
            await gateway.ask(post("s", data, content_type=TYPE))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"next")
        assert answer.next_offset == offset(CHUNK + 8)


async def events_of(gateway: Serving, target: str) -> tuple[Answer, list[Event], bytes]:
    """The head, the events and the bytes of a response that its stream's end ends."""
    client = await gateway.connect()
    client.send(get(target, "Accept-Encoding: gzip, br"))
    head = await client.answer(to_head=True)
    events = await client.events_to_the_end()
    return head, events, client.received


async def test_events_are_sent_with_the_header_fields_that_keep_proxies_from_holding_them() -> None:
    async with serving(own=MINUTE) as gateway:
        await gateway.ask(put("s", "Stream-Closed: true", body=b"one\ntwo"))
        head, _, wire = await events_of(gateway, "s?offset=-1&live=sse")
        assert head.get("Content-Type") == "text/event-stream"
        assert head.get("Cache-Control") == "no-cache, no-transform"
        assert head.get("X-Accel-Buffering") == "no"
        assert (head.get("Content-Encoding"), head.get("Content-Length")) == (None, None)
        assert (head.version, head.get("Connection")) == ("HTTP/1.1", None)
        assert b"event: data\ndata:one\ndata:two\n\n" in wire


async def test_events_tell_the_next_offset_the_cursor_and_the_end() -> None:
    async with serving(own=MINUTE) as gateway:
        await gateway.ask(put("s", body=b"one"))
        client = await gateway.connect()
        client.send(get("s?offset=-1&live=sse"))
        await client.answer(to_head=True)
        events = await client.events_until(lambda told: len(told) == 2)
        place, start = f'{{"streamNextOffset":"{offset(3)}"', f'"headgateStartOffset":"{START}"'
        assert [(one.name, one.data) for one in events] == [
            ("data", "one"),
            ("control", f'{place},{start},"streamCursor":"{CURSOR}","upToDate":true}}'),
        ]
        await close(gateway)
        (*_, end) = await client.events_to_the_end()
        told = f'{place},"streamClosed":true,"upToDate":true}}'
        assert (end.name, end.data) == ("control", told)
