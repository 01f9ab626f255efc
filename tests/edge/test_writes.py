"""What passes through the gateway to an HTTP origin: what is forgotten then, and what is told."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.followed import known_state
from headgate_gateway.edge.followed.comparison import LONGEST_COUNTED, MOST_COUNTED
from headgate_gateway.edge.followed.origin_reads import PollResult
from headgate_gateway.edge.followed.recent_window import RecentWindow, WindowBudget
from headgate_gateway.live.source import LONGEST_ROUND
from headgate_gateway.protocol.streams.offsets import TailBound
from tests.edge.followed_parts import KIND, reading, state_of
from tests.edge.live_readers import confirmed, following, live, news, polling, told, up_to
from tests.support.cache_status import said
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, request

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.known_state import KnownState

S = f"{EDGE}/s"
MINUTE = "Cache-Control: max-age=60"
CREATED = answer(b"", "Stream-Next-Offset: 0000", status="201 Created")
DATA = answer(b"a", "Content-Type: text/plain", "Stream-Next-Offset: 0001")


@pytest.mark.parametrize(
    ("base", "source", "told"),
    [
        ("", f"{EDGE}/a", f"{EDGE}/a"),
        ("", "/%65dge/%61/b", f"{EDGE}/a/b"),
        ("", f"{EDGE}/%c3%a9", f"{EDGE}/%C3%A9"),
        ("/base", f"{EDGE}/a", "/base/a"),
        ("/base", "/e%64ge/a", "/base/a"),
        ("/", f"{EDGE}/a", "/a"),
    ],
)
async def test_the_source_of_a_fork_is_sent_in_canonical_form_below_the_origins_path(
    base: str, source: str, told: str
) -> None:
    async with RawOrigin(CREATED) as raw, edge_serving(raw.url + base) as gateway:
        assert (await gateway.ask(request("PUT", S, f"Stream-Forked-From: {source}"))).status == 201
        assert f"Stream-Forked-From: {told}" in raw.heard[0].fields


@pytest.mark.parametrize("lifetime", ["Stream-TTL: 5", "Stream-Expires-At: 2027-01-15T08:00:05Z"])
@pytest.mark.parametrize("own", [None, "Stream-TTL: 9"])
async def test_a_fork_lives_as_long_as_its_source_unless_it_has_its_own_lifetime(
    lifetime: str, own: str | None
) -> None:
    async with RawOrigin(CREATED, CREATED, DATA) as raw, edge_serving(raw) as gateway:
        await gateway.ask(request("PUT", f"{EDGE}/source", lifetime))
        fork = [f"Stream-Forked-From: {EDGE}/source", *([own] if own else [])]
        await gateway.ask(request("PUT", S, *fork))
        seconds = 9 if own else 5
        first, second = [await gateway.ask(get(f"{S}?offset=0000")) for _ in range(2)]
        assert f"max-age={seconds}," in (first.get("Cache-Control") or "")
        kept = "TTL" not in (own or lifetime)
        assert second.get("X-Cache") == ("HIT" if kept else "MISS")


@pytest.mark.parametrize("said", ["max-age=60", "public, max-age=60", "s-maxage=60", "max-age=2"])
async def test_a_chunk_is_fresh_until_its_stream_ends_though_the_origin_says_for_longer(
    said: str,
) -> None:
    chunk = answer(
        b"x", "Content-Type: text/plain", "Stream-Next-Offset: 0001", f"Cache-Control: {said}"
    )
    async with RawOrigin(CREATED, chunk) as raw, edge_serving(raw) as gateway:
        await gateway.ask(request("PUT", S, "Stream-Expires-At: 2027-01-15T08:00:05Z"))
        sources = []
        for seconds in (0, 1, 3.5):
            gateway.clock.advance(seconds)
            got = await gateway.ask(get(f"{S}?offset=0000"))
            sources.append(got.get("X-Cache"))
        assert sources == ["MISS", "HIT", "MISS" if said == "max-age=2" else "HIT"]
        gateway.clock.advance(0.6)
        assert (await gateway.ask(get(f"{S}?offset=0000"))).get("X-Cache") == "MISS"


async def test_a_stream_lifetime_in_the_origins_response_outranks_the_requested_one() -> None:
    created = answer(b"", "Stream-Next-Offset: 0000", "Stream-TTL: 7", status="201 Created")
    async with RawOrigin(created, DATA) as raw, edge_serving(raw) as gateway:
        await gateway.ask(request("PUT", S))
        got = await gateway.ask(get(f"{S}?offset=0000"))
        assert "max-age=7," in (got.get("Cache-Control") or "")


@pytest.mark.parametrize(
    ("kept", "location"),
    [
        (f"{EDGE}/caf%C3%A9", f"{EDGE}/caf%c3%a9"),
        (f"{EDGE}/~a", f"{EDGE}/%7Ea?x=1"),
        (f"{EDGE}/a", "{origin}/base/a"),
        (f"{EDGE}/a", f"{EDGE}/a"),
    ],
)
async def test_a_location_in_a_write_response_drops_the_cached_response_there(
    kept: str, location: str
) -> None:
    """By whatever spelling, at the origin's address or at ours."""
    async with RawOrigin() as raw, edge_serving(f"{raw.url}/base") as gateway:
        named = location.format(origin=raw.url)
        one, two = (answer(body, MINUTE) for body in (b"one", b"two"))
        raw.scripts = [one, answer(b"", f"Content-Location: {named}"), two]
        assert (await gateway.ask(get(kept))).body == b"one"
        await gateway.ask(request("POST", f"{EDGE}/writer", body=b"x"))
        assert (await gateway.ask(get(kept))).body == b"two"


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
async def test_a_404_or_410_to_any_method_drops_cached_responses(method: str, status: str) -> None:
    gone = answer(status=status)
    async with RawOrigin(answer(b"a", MINUTE), gone) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(get(S))).status == 200
        await gateway.ask(request(method, f"{S}?a=1"))
        assert (await gateway.ask(get(S))).status == int(status[:3])


@pytest.mark.parametrize(
    ("status", "lines"),
    [("404 Not Found", ["Authorization: Bearer a"]), ("504 Gateway Timeout", [])],
)
async def test_a_head_request_that_tells_nothing_of_the_stream_drops_no_cached_response(
    status: str, lines: list[str]
) -> None:
    refused = answer(status=status)
    async with RawOrigin(answer(b"a", MINUTE), refused) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(get(S))).status == 200
        told = await gateway.ask(request("HEAD", f"{S}?a=1", *lines))
        assert told.status == int(status[:3])
        assert (await gateway.ask(get(S))).get("X-Cache") == "HIT"


async def test_an_append_is_read_although_the_origin_never_marks_the_tail() -> None:
    async with LiveOrigin(b"a") as origin, edge_serving(origin) as gateway:
        origin.tells_of_tails = False
        for query in ("offset=-1", "offset=0001"):
            for _ in range(2):
                await gateway.ask(get(f"{S}?{query}"))
        origin.append(b"b")
        await gateway.ask(request("POST", S, body=b"b"))
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"ab"
        assert (await gateway.ask(get(f"{S}?offset=0001"))).body == b"b"


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
async def test_a_response_that_shows_the_tail_is_no_store_unless_the_origin_says_otherwise(
    method: str,
) -> None:
    """Section 5.5; an origin that says something of it is obeyed."""
    tail = "Stream-Next-Offset: 0001"
    answers = answer(b"", tail), answer(b"", tail, MINUTE)
    async with RawOrigin(*answers) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(request(method, S))).get("Cache-Control") == "no-store"
        assert (await gateway.ask(request(method, S))).get("Cache-Control") == "max-age=60"


async def test_a_get_with_a_body_is_reported_as_a_bypass_and_not_as_another_method() -> None:
    async with RawOrigin(answer(b"a", MINUTE)) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(request("GET", S, body=b"x"))
        assert said([got.get("Cache-Status") or ""]) == {"fwd": "bypass", "fwd-status": 200}


STAMP = ("Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0")
REPEATED = answer(b"", "Producer-Epoch: 0", "Producer-Seq: 0", status="204 No Content")
TAIL = answer(b"", "Content-Type: text/plain", "Stream-Next-Offset: 0007")


async def test_a_repeated_append_gets_the_end_of_the_stream_from_a_head_request() -> None:
    async with RawOrigin(REPEATED, TAIL) as raw, edge_serving(raw) as gateway:
        lines = (*STAMP, "Stream-Seq: a", "Content-Type: text/plain", "Authorization: Bearer a")
        got = await gateway.ask(request("POST", f"{S}?b=1", *lines))
        assert (got.status, got.next_offset, got.get("Producer-Seq")) == (204, "0007", "0")
        assert got.get("Cache-Control") == "no-store"
        assert raw.lines() == [f"POST {S}?b=1", f"HEAD {S}?b=1"]
        asked = raw.heard[1].named
        assert asked["authorization"] == "Bearer a"
        assert not {name for name in asked if name.startswith(("content-", "producer-", "stream-"))}
        assert gateway.edge._rules.repairs["end"] == 1


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(answer(status="403 Forbidden"), id="a-403"),
        pytest.param(answer(b"", "Stream-Next-Offset: 0007", status="404 Not Found"), id="a-404"),
        pytest.param(answer(b"", "Content-Type: text/plain"), id="no-offset"),
        pytest.param(answer(b"", "Stream-Next-Offset:"), id="an-empty-offset"),
        pytest.param(b"no HTTP\r\n\r\n", id="no-http"),
    ],
)
async def test_a_repeated_append_gets_204_although_the_head_request_fails(head: bytes) -> None:
    async with RawOrigin(REPEATED, head) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(request("POST", S, *STAMP))
        assert (got.status, got.get("Stream-Next-Offset")) == (204, None)
        assert set(raw.lines()) == {f"POST {S}", f"HEAD {S}"}


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("204 No Content", ["Producer-Seq: 0", "Stream-Next-Offset: 0005"]),
        ("204 No Content", []),
        ("200 OK", ["Producer-Seq: 0"]),
        ("409 Conflict", ["Producer-Seq: 0"]),
    ],
)
async def test_a_first_or_refused_append_causes_no_head_request(
    status: str, fields: list[str]
) -> None:
    said = answer(b"", *fields, status=status)
    async with RawOrigin(said) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(request("POST", S, *STAMP))
        assert got.get("Stream-Next-Offset") == ("0005" if len(fields) == 2 else None)
        assert raw.lines() == [f"POST {S}"]


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
@pytest.mark.parametrize(
    ("status", "kept"),
    [
        ("502 Bad Gateway", False),
        ("504 Gateway Timeout", False),
        ("503 Service Unavailable", True),
        ("500 Oops", True),
        ("409 Conflict", True),
    ],
)
async def test_a_write_with_502_or_504_drops_cached_responses(
    method: str, status: str, kept: bool
) -> None:
    unsure = answer(status=status)
    scripts = (answer(b"old", MINUTE), unsure, answer(b"new", MINUTE))
    async with RawOrigin(*scripts) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(get(S))).body == b"old"
        assert (await gateway.ask(request(method, S))).status == int(status[:3])
        assert (await gateway.ask(get(S))).body == (b"old" if kept else b"new")


AT_3 = PollResult("3", None, b"", KIND, closed=False, caught_up=True)


def known() -> KnownState:
    return state_of(RecentWindow(KIND, "3", WindowBudget(1 << 20)), reading())


async def test_a_poll_without_a_recent_write_is_not_up_to_date() -> None:
    state = known()
    state.note_write(TailBound("5"))
    sent_at = asyncio.get_running_loop().time()
    assert (state.expected_end, state.note_answer(AT_3, 1.0, sent_at, 0).caught_up) == ("5", False)


async def test_a_write_that_the_origin_lost_is_expected_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = known()
    state.note_write(TailBound("5"))
    monkeypatch.setattr(known_state, "PERSISTS_S", 0.0)
    sent_at = asyncio.get_running_loop().time()
    assert not state.note_answer(AT_3, 1.0, sent_at - 1.0, 0).caught_up, "it was sent before"
    assert (state.expected_end, state.note_answer(AT_3, 1.0, sent_at, 0).caught_up) == ("3", True)
    assert state.known_end == "5", "an offset that a client may hold is refused when it is lost"


async def test_the_time_to_show_a_write_begins_anew_only_with_a_write_that_goes_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = known()
    state.note_write(TailBound("5"))
    monkeypatch.setattr(known_state, "PERSISTS_S", 0.05)
    await asyncio.sleep(0.06)
    state.note_write(TailBound("4"))
    assert state.expected_end == "3", "it shows nothing new"
    state.note_write(TailBound("6"))
    assert state.expected_end == "6"


JSON = "application/json"


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_news_around_the_longest_round_arrive_once_and_in_order(more: int) -> None:
    """Over LONGEST_ROUND everybody leaves the round for them, and comes back for what follows."""
    long = b"x" * (LONGEST_ROUND + more)
    async with live(b"a") as (origin, gateway):
        viewers = [await following(gateway, "0000") for _ in range(2)]
        poll = await polling(gateway, "0001")
        for viewer in viewers:
            assert await up_to(viewer, "0001") == "a"
        asked = len(origin.catch_ups)
        await origin.polled(1)
        origin.append(long)
        assert news(await poll.answer()) == (200, long, "0002", "true")
        await origin.polled(2)
        origin.append(b"b")
        for viewer in viewers:
            assert await up_to(viewer, "0003") == f"a{long.decode()}b"
        assert len(origin.catch_ups) == asked  # it was told of all this already


@pytest.mark.parametrize(
    "piece",
    [
        b",".join([b"1"] * (MOST_COUNTED + 2)),
        b'"%b"' % (b"x" * LONGEST_COUNTED),
        b'"%b"' % (b"x" * LONGEST_ROUND),
        b",".join([b'"xx"'] * LONGEST_ROUND),
    ],
    ids=[
        "more messages than are counted",
        "a message too long to count",
        "a message longer than a round",
        "as many messages as a round has bytes",
    ],
)
async def test_long_json_arrives_once_and_later_polls_are_answered(piece: bytes) -> None:
    async with live(b"0", content_type=JSON) as (origin, gateway):
        viewer = await following(gateway, "0001")
        poll = await polling(gateway, "0001")
        await origin.polled(1)
        origin.append(piece)
        whole = b"[%b]" % piece
        assert news(await poll.answer()) == (200, whole, "0002", "true")
        assert await up_to(viewer, "0002") == whole.decode()
        await confirmed(gateway, "0002")
        next_poll = await polling(gateway, "0002")
        origin.append(b'"next"')
        assert news(await next_poll.answer()) == (200, b'["next"]', "0003", "true")
        assert await up_to(viewer, "0003") == f'{whole.decode()}["next"]'
        late = await following(gateway, "0001")
        events = await late.events_until(told("0003", upToDate=True))
        pieces = [json.loads(event.data) for event in events if event.name == "data"]
        assert [item for piece in pieces for item in piece] == [*json.loads(whole), "next"]


async def test_a_poll_gets_the_first_of_two_long_pieces() -> None:
    """What waits for a round may be many answers of the origin."""
    long = b"x" * (LONGEST_ROUND - 10)
    async with live(b"a") as (origin, gateway):
        poll = await polling(gateway, "0001")
        viewer = await following(gateway, "0001")
        await origin.polled(1)
        origin.append(long)
        await origin.polled(2)
        origin.append(long)
        got = await poll.answer()
        assert (got.status, got.body[:1], got.get("Stream-Next-Offset")) == (200, b"x", "0002")
        assert await up_to(viewer, "0003") == 2 * long.decode()
