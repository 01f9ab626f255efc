"""How long a real nginx keeps what an origin says, and what it tells readers of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cdn_configs.nginx_before import READ, Said, asked, results, served
from tests.support.http1 import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn_configs.nginx_before import Origin
    from tests.support.http1 import Answer

POLL = "offset=5&live=long-poll"
EDGE = ("CDN-Cache-Control: public, max-age=60", "Surrogate-Control: public, max-age=60")
A, B = {"Authorization": "Bearer A"}, {"Authorization": "Bearer B"}


@pytest.fixture(scope="module")
def readers_apart(processes: None, origin: Origin) -> Iterator[int]:
    with served(origin, "nginx-njs", "per-credential") as port:
        yield port


KEPT = (
    Said(READ, 200, ("Cache-Control: public, max-age=60",)),
    Said(READ, 200, ("Cache-Control: no-cache, s-maxage=60",)),
    Said(READ, 200, ("Cache-Control: max-age=0, s-maxage=60",)),
    Said(READ, 200, ("Cache-Control: no-store", EDGE[0])),
    Said(READ, 200, ("Cache-Control: no-cache", EDGE[1])),
    Said(READ, 200, ("Cache-Control: no-cache, s-maxage=60, stale-while-revalidate=0", *EDGE)),
    Said(READ, 404, ("Cache-Control: public, max-age=60",)),
    Said(POLL, 200, ("Cache-Control: public, max-age=20, stale-while-revalidate=0",)),
    Said(POLL, 200, ("Cache-Control: no-cache, s-maxage=60, stale-while-revalidate=0", *EDGE)),
    # Without data, for a moment, whatever they say.
    Said(POLL, 204),
    Said(POLL, 204, ("Cache-Control: no-store",)),
    Said(POLL, 204, ("Cache-Control: no-store, s-maxage=60, stale-while-revalidate=0", *EDGE)),
    Said("offset=-1&live=long-poll", 204),
    Said(POLL, 404, ("Cache-Control: no-store",)),
    Said(POLL, 410, ("Cache-Control: no-store",)),
    Said(POLL, 503, ("Cache-Control: no-store",)),
    Said(POLL, 204, ("Cache-Control: no-store, s-maxage=60", *EDGE, "X-Accel-Expires: 0")),
)
NOT_KEPT = (
    Said(READ, 200),
    Said(READ, 204),
    Said(READ, 200, ("Cache-Control: no-store",)),
    Said(READ, 200, ("Cache-Control: no-cache",)),
    Said(READ, 200, ("Cache-Control: public, max-age=0",)),
    Said(READ, 200, ("Cache-Control: public, max-age=60", "CDN-Cache-Control: no-store")),
    Said(READ, 200, ("Cache-Control: public, max-age=60", "CDN-Cache-Control: no-cache")),
    Said(READ, 200, ("Cache-Control: private, max-age=60",)),
    Said(READ, 200, ("Cache-Control: private", *EDGE)),
    Said(READ, 200, ("Cache-Control: public, max-age=60", "Set-Cookie: a=b")),
    Said(READ, 200, ("Cache-Control: public, max-age=60", "X-Accel-Expires: 0")),
    Said(READ, 200, ("Cache-Control: no-store", EDGE[0], "X-Accel-Expires: 0")),
    Said(READ, 200, ("Cache-Control: no-store", "X-Accel-Expires: 60")),
    Said(READ, 200, ("Cache-Control: private, max-age=60", "X-Accel-Expires: 60")),
    Said(READ, 404, ("Cache-Control: no-store",)),
    Said(READ, 503, ("Cache-Control: no-store",)),
    Said(POLL, 200, ("Cache-Control: no-store",)),
    Said(POLL, 204, ("Cache-Control: private, no-cache",)),
    # What is wrong with one client's request is told to nobody else.
    Said(POLL, 400, ("Cache-Control: no-store",)),
    Said(POLL, 431, ("Cache-Control: no-store",)),
    Said("offset=-1&live=long-poll", 404, ("Cache-Control: no-store",)),
)


def own_words(said: Said) -> str | None:
    """The answer's Cache-Control for browsers."""
    values = (field.partition(": ") for field in said.fields)
    return {name: value for name, _, value in values}.get("Cache-Control")


@pytest.mark.parametrize("said", KEPT, ids=str)
def test_nginx_serves_cacheable_responses_to_the_next_readers(
    nginx: int, origin: Origin, said: Said
) -> None:
    url = origin.will_say(said)
    answers = [ask(nginx, "GET", url) for _ in range(3)]
    assert [one.get("X-Cache-Status") for one in answers] == ["MISS", "HIT", "HIT"]
    assert {one.status for one in answers} == {said.status}
    assert origin.asked[url.partition("?")[0]] == 1
    assert {one.get("Cache-Control") for one in answers} == {own_words(said)}


@pytest.mark.parametrize("said", NOT_KEPT, ids=str)
def test_nginx_fetches_uncacheable_responses_each_time(
    nginx: int, origin: Origin, said: Said
) -> None:
    url = origin.will_say(said)
    answers = [ask(nginx, "GET", url) for _ in range(2)]
    assert [one.get("X-Cache-Status") for one in answers] == ["MISS", "MISS"]
    assert origin.asked[url.partition("?")[0]] == 2
    assert {one.get("Cache-Control") for one in answers} == {own_words(said)}


@pytest.mark.parametrize(
    ("method", "query", "reader"),
    [
        ("HEAD", READ, {}),
        ("POST", READ, {}),
        ("GET", "offset=now", {}),
        ("GET", "live=long-poll&offset=now", {}),
        ("GET", "live=sse&offset=5", {}),
        ("GET", "offset=5&live=sse&cursor=1", {}),
        ("GET", READ, A),
        ("GET", POLL, {"Cookie": "a=b; __Secure-headgate=1"}),
    ],
    ids=str,
)
def test_requests_that_may_not_be_cached_bypass_the_nginx_cache(
    nginx: int, origin: Origin, method: str, query: str, reader: dict[str, str]
) -> None:
    url = origin.will_say(Said(query, 200, ("Cache-Control: public, max-age=60",)))
    assert results(nginx, url, reader, reader, method=method) == ["BYPASS", "BYPASS"]
    assert origin.asked[url.partition("?")[0]] == 2


@pytest.mark.parametrize(
    "said",
    [
        Said(READ, 200, ("Cache-Control: private, max-age=60",)),
        Said(READ, 200, ("Cache-Control: private, no-cache",)),
        Said(READ, 200, ("Cache-Control: public, max-age=60",)),
        Said(POLL, 200, ("Cache-Control: private, no-cache",)),
    ],
    ids=str,
)
def test_nginx_caches_per_credential_and_shares_nothing_between_readers(
    readers_apart: int, origin: Origin, said: Said
) -> None:
    url = origin.will_say(said)
    answers = [asked(readers_apart, url, who) for who in (A, A, B, B, {})]
    statuses = [one.get("X-Cache-Status") for one in answers]
    assert statuses == ["MISS", "HIT", "MISS", "HIT", "MISS"]
    bodies = [one.body for one in answers]
    assert bodies == [b"Bearer A", b"Bearer A", b"Bearer B", b"Bearer B", b"anybody"]


def test_nginx_does_not_store_a_private_response_without_a_credential(
    readers_apart: int, origin: Origin
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: private, max-age=60",)))
    assert results(readers_apart, url, {}, {}) == ["MISS", "MISS"]


def test_nginx_stores_a_readers_own_copy_no_longer_than_the_gateway_says_is_left(
    readers_apart: int, origin: Origin
) -> None:
    private = "Cache-Control: private, max-age=60"
    ends, goes_on = (
        origin.will_say(Said(READ, 200, (private, f"X-Accel-Expires: {left}"))) for left in (0, 9)
    )
    assert results(readers_apart, ends, A, A) == ["MISS", "MISS"]
    assert results(readers_apart, goes_on, A, A, B) == ["MISS", "HIT", "MISS"]


def test_credentials_split_differently_over_headers_have_nginx_keys_of_their_own(
    readers_apart: int, origin: Origin
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: private, max-age=60",)))
    one, other = {"Authorization": "x", "Cookie": "y"}, {"Authorization": "xy"}
    assert results(readers_apart, url, one, other, one, other) == ["MISS", "MISS", "HIT", "HIT"]


def first_after_hits(port: int, url: str) -> Answer:
    """The first answer that is no longer a fresh copy."""
    found: list[Answer] = []

    def is_no_hit() -> bool:
        found.append(asked(port, url, {}))
        return found[-1].get("X-Cache-Status") != "HIT"

    wait_until(is_no_hit, "a copy to become old")
    return found[-1]


@pytest.mark.parametrize(
    "fields",
    [("Cache-Control: public, max-age=1",), ("Cache-Control: no-cache, s-maxage=1",)],
    ids=str,
)
def test_nginx_serves_no_expired_response_without_stale_while_revalidate(
    nginx: int, origin: Origin, fields: tuple[str, ...]
) -> None:
    url = origin.will_say(Said(READ, 200, fields))
    assert results(nginx, url, {}) == ["MISS"]
    assert first_after_hits(nginx, url).get("X-Cache-Status") == "EXPIRED"
    assert origin.asked[url.partition("?")[0]] == 2


def test_the_lifetime_for_a_purged_nginx_is_its_own_and_is_not_passed_on(
    nginx: int, origin: Origin
) -> None:
    second = ("Cache-Control: no-cache, s-maxage=1", "CDN-Cache-Control: public, max-age=1")
    day = "Surrogate-Control: public, max-age=86400"
    url, other = (origin.will_say(Said(READ, 200, fields)) for fields in ((*second, day), second))
    first = asked(nginx, url, {})
    assert first.get("Surrogate-Control") is None
    assert first.get("CDN-Cache-Control") == "public, max-age=1"
    assert results(nginx, other, {}) == ["MISS"]
    assert first_after_hits(nginx, other).get("X-Cache-Status") == "EXPIRED"
    assert results(nginx, url, {}) == ["HIT"]


def test_nginx_serves_a_stale_response_while_it_revalidates(nginx: int, origin: Origin) -> None:
    url = origin.will_say(
        Said(READ, 200, ("Cache-Control: public, max-age=1, stale-while-revalidate=60",))
    )
    assert results(nginx, url, {}) == ["MISS"]
    assert first_after_hits(nginx, url).get("X-Cache-Status") == "STALE"
    wait_until(lambda: results(nginx, url, {}) == ["HIT"], "the copy to be renewed")
    assert origin.asked[url.partition("?")[0]] == 2


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (("Cache-Control: max-age=60",), "HIT"),
        (("Cache-Control: max-age=60", "X-Accel-Expires: 30"), "HIT"),
        (("Cache-Control: max-age=60", "X-Accel-Expires: 0"), "REVALIDATED"),
        (("Cache-Control: no-store",), "REVALIDATED"),
        (("Cache-Control: private, max-age=60",), "REVALIDATED"),
    ],
    ids=str,
)
def test_a_304_renews_a_copy_only_if_that_may_be_stored(
    nginx: int, origin: Origin, fields: tuple[str, ...], found: str
) -> None:
    tag = 'ETag: "t"'
    url = origin.will_say(Said(READ, 200, ("Cache-Control: public, max-age=1", tag)))
    assert results(nginx, url, {}) == ["MISS"]
    origin.says[url.partition("?")[0]] = Said(READ, 304, (*fields, tag))
    assert first_after_hits(nginx, url).get("X-Cache-Status") == "REVALIDATED"
    assert results(nginx, url, {}, {}) == [found, found]


def test_nginx_stores_a_long_poll_without_news_for_about_a_second(
    nginx: int, origin: Origin
) -> None:
    url = origin.will_say(Said(POLL, 204, ("Cache-Control: no-store",)))
    began = time.monotonic()
    assert results(nginx, url, {}, {}) == ["MISS", "HIT"]
    assert first_after_hits(nginx, url).get("X-Cache-Status") == "EXPIRED"
    assert time.monotonic() - began < 5  # also on a busy machine


def test_nginx_sends_the_tag_of_an_expired_response_to_the_gateway(
    nginx: int, origin: Origin
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: public, max-age=1", 'ETag: "t"')))
    assert results(nginx, url, {}) == ["MISS"]
    assert first_after_hits(nginx, url).get("X-Cache-Status") == "EXPIRED"
    assert origin.tags[url.partition("?")[0]] == [None, '"t"']
