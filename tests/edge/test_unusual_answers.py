"""What followers make of odd answers of an origin, and what the feed's answers say to caches."""

from __future__ import annotations

import pytest

from headgate_gateway.rules import followed
from tests.edge.live_readers import (
    NEXT_KEY,
    S,
    at,
    confirmed_at_tail,
    following,
    live,
    news,
    polling,
    restored,
    text,
    told,
    up_to,
    viewed,
    waiting,
)
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get
from tests.support.waiting import until

E_ACUTE = "é".encode()
TAIL_OF_ONE = "no-cache, max-age=0, stale-while-revalidate=0"  # of an origin that lets none share


@pytest.mark.usefixtures("quick_retries")
async def test_a_204_without_an_offset_means_the_offset_of_its_poll() -> None:
    """It is where the poll waited."""
    async with live(b"a") as (origin, gateway):
        viewer = await following(gateway, "0001")
        waiter = await polling(gateway, "0001")
        for number in range(1, 5):
            await origin.polled(number)
            origin.answer_all(answer(status="204 No Content"))
            await until(lambda: origin.waiting == 0)
            origin.instead = None
        await origin.polled(5)
        origin.append(b"b")
        assert await up_to(viewer, "0002") == "b"
        assert news(await waiter.answer()) == (200, b"b", "0002", "true")
        assert len(origin.catch_ups) == 1


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("body", [b'{"b":2}', b"[1", b"1]", b"null"])
async def test_json_that_is_no_array_is_a_502_for_polls(body: bytes) -> None:
    async with waiting(b"1", content_type="application/json") as (origin, _, waiter):
        origin.answer_all(
            answer(body, "Content-Type: application/json", "Stream-Next-Offset: 0002")
        )
        assert (await waiter.answer()).status == 502


# Where characters have two bytes or more, an origin's chunks may end within many in a row.
@pytest.mark.parametrize("characters", [2, followed.MOST_JOINED])
@pytest.mark.parametrize("live_too", [True, False])
async def test_text_cut_within_characters_by_the_origin_is_sent_whole(
    live_too: bool, characters: int
) -> None:
    """What follows is there already: it costs a read, and no time of waiting for news."""
    cut = [E_ACUTE[1:] + E_ACUTE[:1]] * (characters - 1)
    pieces = [E_ACUTE[:1], *cut, E_ACUTE[1:], b"!"]
    async with live(*([b"a"] if live_too else [b"a", *pieces])) as (origin, gateway):
        origin.longest = 1
        viewer = await following(gateway, "0001")
        if live_too:
            await origin.polled(1)
            origin.append(*pieces)
        assert await up_to(viewer, f"{len(pieces) + 1:04}") == "é" * characters + "!"


@pytest.mark.parametrize("too_long", [0, 1])
async def test_text_is_joined_to_a_whole_character_up_to_a_length(
    monkeypatch: pytest.MonkeyPatch, too_long: int
) -> None:
    pieces = [b"b" + E_ACUTE[:1], E_ACUTE[1:] + b"!"]
    monkeypatch.setattr(followed, "LONGEST_JOINED", len(pieces[0]) - too_long)
    async with live(b"a", *pieces) as (origin, gateway):
        origin.longest = 1
        viewer = await following(gateway, "0001")
        text_sent = await up_to(viewer, "0003")
    assert text_sent == ("b\ufffd\ufffd!" if too_long else "bé!")


async def test_text_that_ends_amid_a_character_is_sent_with_a_replacement_character() -> None:
    """The rest is yet to be written: nobody knows when."""
    async with viewed(b"a") as (origin, _, viewer):
        origin.append(E_ACUTE[:1])
        assert await up_to(viewer, "0002") == "\ufffd"


@pytest.mark.parametrize("cursor", ["a b", "1&offset=-1", "+/=", "%", "ü"])
async def test_the_cursor_of_the_origin_is_sent_back_unchanged(cursor: str) -> None:
    async with live(b"a") as (origin, gateway):
        origin.cursor = cursor
        viewer = await following(gateway, "0001")
        await origin.polled(1)
        origin.append(b"b")
        assert await up_to(viewer, "0002") == "b"
        await origin.polled(2)
        assert origin.queries[-1] == {
            "cursor": [cursor],
            "live": ["long-poll"],
            "offset": ["0002"],
        }


@pytest.mark.parametrize("mark", "+@|$;%#<:!")
async def test_offsets_with_any_permitted_character_are_followed(mark: str) -> None:
    async with live(b"a") as (origin, gateway):
        origin.mark = mark
        caught_up = await gateway.ask(get(f"{S}?offset=-1"))
        tail = f"0001{mark}"
        assert caught_up.get("Stream-Next-Offset") == tail
        quoted = f"0001%{ord(mark):02X}"
        viewer = await following(gateway, quoted)
        waiter = await polling(gateway, quoted)
        await origin.polled(1)
        origin.append(b"b")
        assert news(await waiter.answer()) == (200, b"b", f"0002{mark}", "true")
        assert await up_to(viewer, f"0002{mark}") == "b"
        again = await gateway.ask(get(f"{S}?offset={quoted}"))
        assert news(again) == (200, b"b", f"0002{mark}", "true")


@pytest.mark.parametrize("mark", ['"', "\\", "/", "é"])
async def test_an_offset_with_a_forbidden_character_is_a_502(mark: str) -> None:
    """An empty answer at once would make pollers ask as fast as they can."""
    async with live(b"a") as (origin, gateway):
        origin.mark = mark
        for mode in ("long-poll", "sse"):
            assert (await gateway.ask(get(at("-1", mode)))).status == 502


async def test_a_non_ascii_content_type_is_passed_on() -> None:
    async with waiting(b"a", content_type='text/plain; x="ü\u20ac"') as (origin, gateway, waiter):
        viewer = await following(gateway, "0001")
        origin.append(b"b")
        got = await waiter.answer()
        assert news(got) == (200, b"b", "0002", "true")
        assert 'text/plain; x="ü\u20ac"'.encode() in got.wire
        assert await up_to(viewer, "0002") == "b"


@pytest.mark.parametrize(
    "query",
    [
        "offset=0001&offset=-1",
        "offset=0001&live=foo",
        "offset=0001&live=",
        "offset=0001&live=long-poll&live=sse",
        "offset=0001&cursor=x",
        "offset=0001&cursor=1&cursor=2",
    ],
)
async def test_an_invalid_query_is_sent_to_the_origin_and_not_answered_from_the_feed(
    query: str,
) -> None:
    async with confirmed_at_tail(b"a") as (origin, gateway):
        origin.instead = answer(b"no", status="400 Bad Request")
        got = await gateway.ask(get(f"{S}?{query}"))
        assert (got.status, got.body) == (400, b"no")


@pytest.mark.parametrize(
    ("by_origin", "said"),
    [
        ("private, max-age=60", "private, no-cache"),
        ("no-store", "no-store"),
        ("no-cache", "no-cache"),
        ("public, max-age=1", "public, no-cache, s-maxage=1, stale-while-revalidate=0"),
        ("s-maxage=5", "no-cache, s-maxage=1, stale-while-revalidate=0"),
        ("max-age=0, must-revalidate", "max-age=0, must-revalidate"),
    ],
)
@pytest.mark.parametrize("known_before", [True, False])
async def test_cache_control_of_the_origins_reads_applies_to_recent_data(
    by_origin: str, said: str, known_before: bool
) -> None:
    async with live(b"a") as (origin, gateway):
        origin.says_of_reads = [f"Cache-Control: {by_origin}"]
        viewer = await following(gateway, "-1" if known_before else "now")
        await viewer.events_until(told("0001"))
        await origin.polled(1)
        origin.append(b"b")
        await viewer.events_until(told("0002"))
        for _ in range(2):
            read = await gateway.ask(get(f"{S}?offset=0001", "X-Own-Way: 1"))
            assert (read.body, read.get("Cache-Control")) == (b"b", said)
        poll = await gateway.ask(get(at("0001")))
        assert (poll.body, poll.get("Cache-Control")) == (b"b", said)


@pytest.mark.parametrize(
    ("says", "said"),
    [
        ([], ("no-store", "no-cache", None)),
        (["Cache-Control: public, max-age=9"], ("no-store", "no-cache", None)),
        (["Cache-Control: max-age=9", "Vary: X"], ("no-store", "no-cache", "X")),
        (["Cache-Control: private, max-age=9"], ("private, no-store", None, None)),
    ],
)
async def test_a_poll_from_now_gets_a_response_that_no_cache_stores(
    says: list[str], said: tuple[str | None, ...]
) -> None:
    async with live(b"a") as (origin, gateway):
        origin.says = says
        waiters = [await polling(gateway, offset) for offset in ("now", "0001")]
        await origin.polled(1)
        origin.append(b"b")
        from_now, at_tail = [await waiter.answer() for waiter in waiters]
    names = ("Cache-Control", "CDN-Cache-Control", "Vary")
    assert news(from_now) == news(at_tail) == (200, b"b", "0002", "true")
    assert tuple(from_now.get(name) for name in names) == said
    assert "no-store" not in (at_tail.get("Cache-Control") or "")


async def test_cache_control_of_the_origins_polls_outranks_that_of_its_reads() -> None:
    async with live(b"a") as (origin, gateway):
        origin.says_of_reads = ["Cache-Control: max-age=1"]
        origin.says_of_polls = ["Cache-Control: max-age=2"]
        viewer = await following(gateway, "-1")
        await origin.polled(1)
        origin.append(b"b")
        await viewer.events_until(told("0002"))
        poll = await gateway.ask(get(at("0001", "long-poll", NEXT_KEY)))
        assert poll.get("Cache-Control") == "max-age=2"
        again = await gateway.ask(get(at("0001")))
        assert (again.get("Cache-Control"), again.get("CDN-Cache-Control")) == (
            TAIL_OF_ONE,
            "max-age=1",
        )
        read = await gateway.ask(get(f"{S}?offset=0001"))
        assert read.get("Cache-Control") == TAIL_OF_ONE
        assert read.get("CDN-Cache-Control") == "max-age=1"


@pytest.mark.parametrize(
    "by_origin",
    [
        "Cache-Control: public, max-age=60",
        "CDN-Cache-Control: public, max-age=60",
        "Surrogate-Control: public, max-age=60",
    ],
)
async def test_a_tail_with_a_lifetime_of_zero_is_cached_nowhere(by_origin: str) -> None:
    async with LiveOrigin(b"a") as origin, edge_serving(origin, {"tail_max_age": 0}) as gateway:
        origin.says_of_reads = [by_origin]
        for asked in (1, 2):
            got = await gateway.ask(get(f"{S}?offset=0000"))
            assert (got.body, got.get("Stream-Up-To-Date")) == (b"a", "true")
            assert len(origin.catch_ups) == asked
            for name in ("Cache-Control", "CDN-Cache-Control", "Surrogate-Control"):
                said = got.get(name)
                assert said is None or "no-cache" in said, name


@pytest.mark.parametrize(
    ("by_origin", "said"), [("private", "private, no-cache"), ("no-store", "no-store")]
)
async def test_data_read_after_a_failure_are_as_private_as_the_origin_says(
    by_origin: str, said: str
) -> None:
    async with live(b"a") as (origin, gateway):
        viewer = await following(gateway, "now")
        await origin.polled(1)
        origin.says_of_reads = [f"Cache-Control: {by_origin}"]
        await restored(origin, b"a", b"b")
        assert await up_to(viewer, "0002") == "b"
        assert (await gateway.ask(get(at("0001")))).get("Cache-Control") == said


async def test_a_read_of_another_vary_variant_is_not_answered_from_the_feed() -> None:
    async with live(b"a") as (origin, gateway):
        origin.says_of_reads = ["Vary: Accept-Language", "Cache-Control: max-age=9"]
        viewer = await following(gateway, "0001")
        await origin.polled(1)
        await gateway.ask(get(f"{S}?offset=-1", "Accept-Language: de"))
        origin.append(b"b")
        assert await up_to(viewer, "0002") == "b"
        asked = len(origin.catch_ups)
        got = await gateway.ask(get(f"{S}?offset=0001", "Accept-Language: de"))
        assert (got.body, got.get("X-Cache")) == (b"b", "MISS")
        assert len(origin.catch_ups) == asked + 1
        assert text(await viewer.events_until(lambda events: bool(events))) == "b"


async def test_a_tag_with_bytes_that_are_no_text_is_sent_back_as_the_origin_gave_it() -> None:
    said = answer(b"data", "Cache-Control: max-age=0", "ETag: TAG").replace(b"TAG", b'"a\xff"')
    async with RawOrigin(said) as origin, edge_serving(origin) as gateway:
        for _ in range(2):
            assert (await gateway.ask(get(f"{EDGE}/s?offset=1"))).status == 200
        assert b'If-None-Match: "a\xff"' in origin.heard[-1].head
