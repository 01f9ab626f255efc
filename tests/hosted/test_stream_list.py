"""The pages of a route's streams, as the dashboard asks for them."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.console.cached_answers import MOST_ANSWERS, REST
from headgate_gateway.features.console.inspected_streams import streams_of
from headgate_gateway.features.console.size_survey import KEPT_S, MOST_KEPT
from headgate_gateway.features.questions.contract import AnswerFailure
from headgate_gateway.features.questions.streams import LARGEST_PAGE, ListStreams, StreamPage
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.protocol.requests import CreateRequest, ForkRequest
from headgate_gateway.protocol.streams.state import Lifetime
from tests.support.manual_clock import at
from tests.support.serving import PREFIX, Serving, get, post, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.features.questions.contract import Answer
    from headgate_gateway.logs.searches import FoundPaths


async def listed(gateway: Serving, **question: object) -> StreamPage:
    told = await answered(gateway, **question)
    assert isinstance(told, StreamPage), told
    return told


async def answered(gateway: Serving, **question: object) -> Answer:
    asked = ListStreams(PREFIX, **question)  # type: ignore[arg-type] # checked there
    return await gateway.inspector.answer(asked)


def names(page: StreamPage) -> list[str]:
    return [row.name for row in page.rows]


async def create(
    gateway: Serving, *paths: str, ttl_s: int | None = None, body: bytes = b""
) -> None:
    for path in paths:
        asked = CreateRequest(body, "text/plain", Lifetime(ttl_s=ttl_s), False, None)
        await gateway.route.writes.create(path, asked, None)


async def test_a_listed_stream_has_its_size_type_and_times() -> None:
    async with serving() as gateway:
        now = gateway.clock()
        await create(gateway, "a", ttl_s=60, body=b"four")
        fork = ForkRequest(f"{PREFIX}/a", None, 0)
        await gateway.route.writes.create(
            "f", CreateRequest(b"", None, Lifetime(), True, fork), "a"
        )
        first, second = (await listed(gateway)).rows
        assert (first.name, first.content_type, first.closed) == ("a", "text/plain", False)
        assert (first.size, first.readers, first.forked_from) == (4, 0, None)
        assert (first.created_at, first.expires_at) == (int(now), now + 60)
        assert (second.name, second.closed, second.forked_from, second.size) == ("f", True, "a", 4)
        assert second.tail == first.tail


async def test_a_listed_stream_has_its_last_append_and_growth_as_far_as_they_were_seen() -> None:
    async with serving() as gateway:
        await create(gateway, "a", body=b"four")
        (row,) = (await listed(gateway)).rows
        assert (row.rate, row.growth, row.last_append_at) == (0.0, None, None)
        for _ in range(6):
            await gateway.ask(post("a", b"12345"))
        (row,) = (await listed(gateway)).rows
        assert row.rate is not None
        assert 0.05 <= row.rate <= 0.1
        assert row.growth == 30
        assert row.last_append_at == pytest.approx(gateway.clock(), abs=30)


@pytest.mark.parametrize(
    ("begins", "found"),
    [
        pytest.param("", ["%25", "50%25%20off", "b%C3%A9", "b/x", "ba"], id="an-empty-prefix"),
        ("b", ["b%C3%A9", "b/x", "ba"]),
        ("bé", ["b%C3%A9"]),
        ("b%c3", ["b%C3%A9"]),
        ("b%C", ["b%C3%A9"]),
        ("b%", ["b%C3%A9"]),
        ("50% off", ["50%25%20off"]),
        ("%", ["%25"]),
        ("%%", []),
        ("<script>", []),
        pytest.param("\x00", [], id="a-nul"),
    ],
)
async def test_a_prefix_filter_matches_in_every_spelling(begins: str, found: list[str]) -> None:
    async with serving() as gateway:
        await create(gateway, "b/x", "b%C3%A9", "ba", "%25", "50%25%20off")
        assert names(await listed(gateway, name_prefix=begins)) == found


@pytest.mark.parametrize(
    "question",
    [
        pytest.param({"name_prefix": "x" * 2049}, id="a-prefix-over-the-limit"),
        pytest.param({"name_prefix": "\ud800"}, id="a-prefix-that-is-a-surrogate"),
        {"order": "size", "contains": "x"},
        {"order": "size", "after": "chat/1"},
        {"order": "readers", "after": "chat/1"},
        {"order": "rate", "after": "chat/1"},
        {"order": "growth", "after": "chat/1"},
    ],
)
async def test_a_question_that_no_page_can_answer_is_refused(question: dict[str, str]) -> None:
    async with serving() as gateway:
        told = await answered(gateway, **question)
    assert isinstance(told, AnswerFailure)
    assert told.status == 400


@pytest.mark.parametrize(
    ("search", "found"),
    [
        pytest.param({"contains": "/e"}, ["a/events", "b/events"], id="contains"),
        pytest.param({"glob": "*/events"}, ["a/events", "b/events"], id="glob"),
        pytest.param({"name_prefix": "b", "contains": "event"}, ["b/events"], id="both"),
        pytest.param({"name_prefix": "b", "glob": "a*"}, [], id="a-prefix-that-contradicts"),
        pytest.param({"glob": "é*"}, ["%C3%A9t%C3%A9"], id="a-glob-of-another-script"),
        pytest.param({"contains": "<b>"}, ["%3Cb%3E"], id="markup"),
    ],
)
async def test_a_search_finds_the_fitting_names(search: dict[str, str], found: list[str]) -> None:
    async with serving() as gateway:
        await create(gateway, "a/events", "b/events", "b/x", "%C3%A9t%C3%A9", "%3Cb%3E")
        assert names(await listed(gateway, **search)) == found


async def test_a_search_goes_through_all_names_and_says_how_many_it_has_compared() -> None:
    async with serving() as gateway:
        await create(gateway, *(f"s{number}" for number in range(9)), "t1", "t2", "u")
        page = await listed(gateway, contains="t", limit=1)
        assert (names(page), page.after, page.compared) == (["t1"], "t1", 12)
        page = await listed(gateway, contains="t", after="t1", limit=1)
        assert (names(page), page.after) == (["t2"], None)


class Searched(MemoryLog):
    """A log in memory that counts its searches, each of which takes a twentieth of a second."""

    searches = 0

    async def search(
        self, prefix: str, after: str, fits: Callable[[str], bool], limit: int
    ) -> FoundPaths:
        self.searches += 1
        ends_at = perf_counter() + 0.05
        while perf_counter() < ends_at:
            await asyncio.sleep(0)
        return await super().search(prefix, after, fits, limit)


async def test_a_repeated_search_is_cached_for_twenty_times_as_long_as_it_took() -> None:
    log = Searched()
    async with serving(log) as gateway:
        await create(gateway, "a1", "a2")
        began = perf_counter()
        assert names(await listed(gateway, contains="a")) == ["a1", "a2"]
        await gateway.ask(request("DELETE", "a1"))
        await create(gateway, "a3")
        assert names(await listed(gateway, contains="a")) == ["a2"]
        assert log.searches == 1
        await listed(gateway, contains="3")
        assert log.searches == 2

        async def is_repeated() -> bool:
            return names(await listed(gateway, contains="a")) == ["a2", "a3"]

        await until(is_repeated)
        assert perf_counter() - began >= REST * 0.05
        assert log.searches == 3


async def test_the_number_of_cached_searches_is_bounded() -> None:
    log = Searched()
    async with serving(log) as gateway:
        await create(gateway, "a")
        for number in range(MOST_ANSWERS + 1):
            await listed(gateway, contains=f"{number}")
        await listed(gateway, contains=f"{MOST_ANSWERS}")
        assert log.searches == MOST_ANSWERS + 1
        await listed(gateway, contains="0")
        assert log.searches == MOST_ANSWERS + 2


async def test_expired_streams_are_not_listed_and_pages_are_full() -> None:
    async with serving() as gateway:
        await create(gateway, *(f"old{number}" for number in range(6)), ttl_s=10)
        await create(gateway, "old-source", "z")
        fork = ForkRequest(f"{PREFIX}/old-source", None, 0)
        asked = CreateRequest(b"", None, Lifetime(), False, fork)
        await gateway.route.writes.create("y", asked, "old-source")
        await gateway.ask(request("DELETE", "old-source"))
        gateway.clock.advance(10)
        page = await listed(gateway, limit=2)
        assert names(page) == ["y", "z"]
        assert page.after is None


async def test_a_stream_in_use_is_listed_although_its_deadline_is_not_yet_written() -> None:
    async with serving() as gateway:
        await create(gateway, "s", ttl_s=100)
        gateway.clock.advance(9)
        await gateway.ask(get("s"))
        gateway.clock.advance(95)
        state = (await gateway.log.load("s")).path_state.state
        assert state is not None
        assert state.expired(at(gateway.clock()))
        assert names(await listed(gateway)) == ["s"]


@pytest.mark.parametrize(
    ("limit", "rows"), [(-1, 1), (0, 1), (LARGEST_PAGE, LARGEST_PAGE), (10**9, LARGEST_PAGE)]
)
async def test_a_list_limit_is_bounded_by_one_and_largest_page(limit: int, rows: int) -> None:
    async with serving() as gateway:
        await create(gateway, *(f"{number:03}" for number in range(LARGEST_PAGE + 1)))
        page = await listed(gateway, limit=limit)
        assert len(page.rows) == rows
        assert page.after == page.rows[-1].name
        rest = await listed(gateway, limit=limit, after=page.after)
        assert rest.rows[0].name == f"{rows:03}"


class Surveyed(MemoryLog):
    """A log in memory that counts how often its largest streams are looked for."""

    surveys = 0

    async def largest(self, prefix: str, most: int) -> Sequence[tuple[int, str]]:
        self.surveys += 1
        return await super().largest(prefix, most)


async def test_the_largest_streams_are_listed_from_a_survey_cached_for_a_minute() -> None:
    log = Surveyed()
    async with serving(log) as gateway:
        for number in range(5):
            await create(gateway, f"s{number}", body=b"x" * (number % 4))
        began = gateway.clock()
        page = await listed(gateway, order="size", limit=2)
        assert (names(page), page.as_of) == (["s3", "s2"], began)
        await create(gateway, "larger", body=b"x" * 9)
        gateway.clock.advance(KEPT_S - 0.5)
        page = await listed(gateway, order="size", limit=2, after=page.after)
        assert (names(page), page.as_of) == (["s1", "s4"], began)
        page = await listed(gateway, order="size", limit=2, after=page.after)
        assert (names(page), page.after) == (["s0"], None)
        assert log.surveys == 1
        gateway.clock.advance(0.5)
        page = await listed(gateway, order="size", limit=1)
        assert (names(page), page.as_of) == (["larger"], began + KEPT_S)
        assert names(await listed(gateway, order="size", name_prefix="s", limit=1)) == ["s3"]
        assert log.surveys == 3


async def test_the_number_of_surveys_of_a_log_is_bounded() -> None:
    log = Surveyed()
    async with serving(log) as gateway:
        await create(gateway, *(f"s{number}" for number in range(MOST_KEPT + 1)), body=b"x")
        for _ in range(3):
            for number in range(MOST_KEPT):
                page = await listed(gateway, order="size", name_prefix=f"s{number}")
                assert names(page) == [f"s{number}"]
        assert log.surveys == MOST_KEPT  # whoever looks in turn with others has his own
        told = await answered(gateway, order="size", name_prefix=f"s{MOST_KEPT}")
        assert isinstance(told, AnswerFailure)
        assert (told.status, log.surveys) == (503, MOST_KEPT)
        gateway.clock.advance(KEPT_S)
        page = await listed(gateway, order="size", name_prefix=f"s{MOST_KEPT}")
        assert names(page) == [f"s{MOST_KEPT}"]


async def test_a_stream_removed_since_the_survey_is_left_out() -> None:
    async with serving() as gateway:
        await create(gateway, "a", "b", body=b"x")
        await listed(gateway, order="size")
        await gateway.ask(request("DELETE", "a"))
        assert names(await listed(gateway, order="size")) == ["b"]


async def test_streams_with_readers_are_listed_with_the_most_readers_first() -> None:
    async with serving() as gateway:
        await create(gateway, "none", "one", "two", "two-more")
        for name in ("one", "two", "two", "two-more", "two-more"):
            client = await gateway.connect()
            client.send(get(f"{name}?offset=now&live=sse"))
        await until(lambda: gateway.limits.live_readers == 5)
        page = await listed(gateway, order="readers", limit=2)
        assert [(row.name, row.readers) for row in page.rows] == [("two-more", 2), ("two", 2)]
        page = await listed(gateway, order="readers", limit=2, after=page.after)
        assert [(row.name, row.readers) for row in page.rows] == [("one", 1)]
        assert page.after is None
        assert names(await listed(gateway, order="readers", name_prefix="two-")) == ["two-more"]


async def test_streams_that_grew_are_listed_with_the_most_bytes_first() -> None:
    async with serving() as gateway:
        await create(gateway, "large", body=b"x" * 999)
        await create(gateway, "idle", "fast", "slow")
        await gateway.ask(post("slow", b"1"))
        await gateway.ask(post("fast", b"12"))
        page = await listed(gateway, order="growth", limit=1)
        assert names(page) == ["fast"]
        page = await listed(gateway, order="growth", limit=1, after=page.after)
        assert (names(page), page.after) == (["slow"], None)


async def test_feeds_are_listed_to_the_end_although_streams_are_created_meanwhile() -> None:
    async with serving() as gateway:
        await create(gateway, "one", "two")
        for name in ("one", "two"):
            client = await gateway.connect()
            client.send(get(f"{name}?offset=now&live=sse"))
        await until(lambda: gateway.limits.live_readers == 2)
        found = []
        for feed in streams_of(gateway.route).live_feeds():
            found.append(feed.name)
            await create(gateway, f"beside-{feed.name}")
        assert found == ["one", "two"]
