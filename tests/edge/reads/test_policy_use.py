"""What a stored response is used for: which, when, after which question, and in which part."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.edge.reads.decision import (
    HIT,
    REFUSE,
    STALE,
    STALE_ON_ERROR,
    VALIDATE,
    Use,
    reuse,
    select,
)
from headgate_gateway.errors import RangeNotSatisfiable
from headgate_gateway.rules.directives import Marks, byte_range, date_of, is_not_modified
from headgate_gateway.rules.policy import (
    OF_ONE_REQUEST,
    Times,
    confirms,
    invalidated_also,
    invalidates,
    is_error,
    serves_error,
    updated,
    validators,
    variant,
)
from tests.edge.reads.responses import DATE, HOUR_AGO, MINUTE_AGO, NOW, fields, in_store, kept

if TYPE_CHECKING:
    from headgate_gateway.edge.reads.variants import Variant


OLDER, NEWER = f"Last-Modified: {HOUR_AGO}", f"Last-Modified: {DATE}"
SINCE, SINCE_NOW = ("If-Modified-Since", HOUR_AGO), f"If-Modified-Since: {DATE}"
DATED = f"Date: {DATE} | Last-Modified: {MINUTE_AGO}"
LIFETIMES = "max-age=60, stale-while-revalidate=30, stale-if-error=300"
ANY = fields("")
ONLY_IF_CACHED = fields("Cache-Control: only-if-cached")


def failing(one: Variant) -> Variant:
    """The same, of which the origin has just failed to say whether it is current."""
    failed = in_store(one.stored)
    failed.rests_until = math.inf
    return failed


@pytest.mark.parametrize(
    ("after", "decision", "when_it_fails"),
    [
        (-5, HIT, HIT),
        (0, HIT, HIT),
        (59.9, HIT, HIT),
        (60, STALE, STALE),
        (89.9, STALE, STALE),
        (90, VALIDATE, STALE_ON_ERROR),
        (359.9, VALIDATE, STALE_ON_ERROR),
        (360, VALIDATE, VALIDATE),
    ],
)
def test_a_cached_response_is_served_fresh_then_stale_then_validated_as_it_ages(
    after: float, decision: Use, when_it_fails: Use
) -> None:
    variant, now = in_store(kept(f"Cache-Control: {LIFETIMES}")), NOW + after
    assert reuse(ANY, [variant], now) == (decision, variant)
    failed = failing(variant)
    assert reuse(ANY, [failed], now) == (when_it_fails, failed)
    assert serves_error(variant.stored, now) == (when_it_fails is not VALIDATE)
    assert variant.stored.is_fresh(now) == (decision is HIT)


@pytest.mark.parametrize("forbids", ["must-revalidate", "proxy-revalidate", "s-maxage=60"])
def test_a_must_revalidate_response_is_never_served_stale(forbids: str) -> None:
    stored = kept(f"Cache-Control: {LIFETIMES}, {forbids}", stale_if_error=600)
    variant = in_store(stored)
    assert (stored.stale_while_revalidate, stored.stale_if_error) == (0, 0)
    assert reuse(ANY, [variant], NOW + 59) == (HIT, variant)
    assert reuse(ANY, [variant], NOW + 60) == (VALIDATE, variant)
    failed = failing(variant)
    assert reuse(ANY, [failed], NOW + 60) == (VALIDATE, failed)
    assert not serves_error(stored, NOW + 60)


def test_a_no_cache_response_is_validated_at_each_use_even_if_the_clock_goes_back() -> None:
    variant = in_store(
        kept(f'Cache-Control: no-cache, {LIFETIMES} | ETag: "a"', stale_if_error=600)
    )
    for now in (NOW - 5, NOW, NOW + 1):
        failed = failing(variant)
        assert reuse(ANY, [failed], now) == (VALIDATE, failed)
        assert not serves_error(variant.stored, now)


def test_an_only_if_cached_request_is_served_or_refused_without_a_fetch() -> None:
    variant = in_store(kept(f"Cache-Control: {LIFETIMES}"))
    assert reuse(ONLY_IF_CACHED, [], NOW) == (REFUSE, None)
    assert reuse(ONLY_IF_CACHED, [variant], NOW + 59) == (HIT, variant)
    assert reuse(ONLY_IF_CACHED, [variant], NOW + 60) == (STALE, variant)
    assert reuse(ONLY_IF_CACHED, [variant], NOW + 90) == (REFUSE, variant)
    failed = failing(variant)
    assert reuse(ONLY_IF_CACHED, [failed], NOW + 90) == (STALE_ON_ERROR, failed)


@pytest.mark.parametrize(
    ("response", "stale_if_error"),
    [
        ("Cache-Control: max-age=60", 600),
        ("Cache-Control: max-age=60, stale-if-error=5", 5),
        ("Cache-Control: max-age=60, stale-if-error=0", 0),
        ("Cache-Control: max-age=60, stale-if-error=x", 0),
        pytest.param(f"Date: {DATE} | Last-Modified: {HOUR_AGO}", 600, id="a-heuristic-lifetime"),
        ('Cache-Control: max-age=0 | ETag: "a"', 0),
        ('ETag: "a"', 0),
    ],
)
def test_stale_if_error_of_the_route_applies_to_responses_that_were_fresh(
    response: str, stale_if_error: int
) -> None:
    assert kept(response, stale_if_error=600).stale_if_error == stale_if_error


def test_only_500_502_503_and_504_count_as_origin_failures() -> None:
    assert [status for status in range(100, 600) if is_error(status)] == [500, 502, 503, 504]


@pytest.mark.parametrize(
    ("request_fields", "wanted"),
    [
        ("", False),
        ("Cache-Control: no-cache", False),
        ("Cache-Control: Only-If-Cached", True),
        ("Cache-Control: max-age=1 | Cache-Control: only-if-cached", True),
    ],
)
def test_only_if_cached_is_recognised_in_any_case(request_fields: str, wanted: bool) -> None:
    assert (reuse(fields(request_fields), [], NOW)[0] is REFUSE) == wanted


def cached(name: str, request: str, vary: str, after: float = 0) -> Variant:
    response = f"Cache-Control: max-age=60 | Vary: {vary}"
    stored = kept(response, request=request, times=Times(NOW + after, NOW + after))
    return in_store(stored, name.encode())


@pytest.mark.parametrize(
    ("request_fields", "name"),
    [
        ("Foo: 1", "foo 1"),
        ("Foo: 2", "foo 2"),
        ("Foo: 3", None),
        ("", None),
        ("Foo: 1 | Bar: x", "foo 1"),
        ("Bar: b | Baz: z", "bar b"),
        ("Bar: b", None),
    ],
)
def test_the_variant_with_equal_request_fields_is_selected(
    request_fields: str, name: str | None
) -> None:
    entries = [
        cached("foo 1", "Foo: 1", "Foo"),
        cached("foo 2", "Foo: 2 | Bar: x", "Foo"),
        cached("bar b", "Baz: z | Bar: b", "bar, Baz, BAR, foo"),
    ]
    chosen = select(entries, fields(request_fields))
    assert (chosen and chosen.cached.body.decode()) == name


def test_the_request_fields_of_a_variant_are_stored_sorted_and_normalised() -> None:
    stored = cached("", "B:  1 ,2 | Accept-Encoding: gzip, br", "b, Accept-Encoding, c").stored
    assert stored.vary == (("accept-encoding", "br,gzip"), ("b", "1,2"), ("c", "\n"))


@pytest.mark.parametrize("vary", ["*", "Foo, *", "* | Vary: Foo"])
@pytest.mark.parametrize("request_fields", ["", "*: *", "Foo: 1"])
def test_a_response_that_varies_by_everything_matches_no_later_request(
    vary: str, request_fields: str
) -> None:
    asked = fields(request_fields)
    assert variant(asked, fields(f"Vary: {vary}")) == OF_ONE_REQUEST
    entry = cached("", request_fields, "")
    varied = msgspec.structs.replace(entry.stored, vary=OF_ONE_REQUEST)
    assert select([in_store(varied)], asked) is None


@pytest.mark.parametrize(
    ("response", "conditions"),
    [
        ("", []),
        ('ETag: W/"a"', [("If-None-Match", 'W/"a"')]),
        pytest.param(OLDER, [("If-Modified-Since", HOUR_AGO)], id="a-date"),
        pytest.param(f'{OLDER} | ETag: "a"', [("If-None-Match", '"a"'), SINCE], id="both"),
        ("Last-Modified: yesterday", []),
    ],
)
def test_the_validators_of_a_response_become_conditions_for_the_origin(
    response: str, conditions: list[tuple[str, str]]
) -> None:
    assert validators(fields(response)) == conditions


@pytest.mark.parametrize(
    ("conditions", "answer", "confirmed"),
    [
        ('ETag: "a"', "", True),
        ('ETag: "a"', 'ETag: "a"', True),
        ('ETag: "a"', 'ETag: "b"', False),
        ('ETag: W/"a"', 'ETag: "a"', True),
        ('ETag: "a"', 'ETag: W/"a"', True),
        ("ETag: a", "ETag: a", True),
        ('ETag: "a"', f"Last-Modified: {HOUR_AGO}", True),
        (f'ETag: "a" | {OLDER}', f'ETag: "a" | {NEWER}', True),
        (OLDER, "Last-Modified: Sun Nov  6 07:49:37 1994", True),
        pytest.param(OLDER, f"Last-Modified: {DATE}", False, id="newer"),
        (OLDER, 'ETag: "a"', False),
        (OLDER, "", True),
    ],
)
def test_a_304_confirms_a_response_unless_its_validator_differs(
    conditions: str, answer: str, confirmed: bool
) -> None:
    assert confirms(validators(fields(conditions)), fields(answer)) is confirmed


def test_a_304_updates_stored_fields_except_those_that_describe_the_body() -> None:
    stored = fields(
        f"Date: {HOUR_AGO} | Age: 5 | A: 1 | A: 2 | B: 3 | Cache-Control: max-age=1 |"
        "Set-Cookie: a=b |"
        'Content-Length: 5 | Content-Encoding: gzip | Content-Type: text/plain | ETag: "a"'
    )
    answer = fields(
        f"date: {DATE} | a: 4 | a: 5 | cache-control: max-age=60 | Content-Length: 0 | C: 6 |"
        'Content-Encoding: br | Content-Range: bytes 0-1/2 | ETag: "b" | Content-Type: text/html'
    )
    assert sorted(updated(stored, answer).items()) == sorted(
        fields(
            "B: 3 | Content-Length: 5 | Content-Encoding: gzip | Content-Type: text/html |"
            f'ETag: "a" | date: {DATE} | a: 4 | a: 5 | cache-control: max-age=60 | C: 6'
        ).items()
    )
    assert updated(stored, fields("")).getall("A") == ["1", "2"]
    assert {"Age", "Date", "Set-Cookie"}.isdisjoint(updated(stored, fields("")))
    assert stored["Age"] == "5"


@pytest.mark.parametrize(
    ("status", "does"),
    [(199, False), (200, True), (204, True), (303, True), (399, True), (400, False), (500, False)],
)
def test_only_a_write_answered_2xx_or_3xx_invalidates_its_target(status: int, does: bool) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "M-SEARCH"):
        assert invalidates(method, status) == does, method
    for method in ("GET", "HEAD", "OPTIONS", "TRACE"):
        assert not invalidates(method, status), method


@pytest.mark.parametrize(
    ("target", "response", "paths"),
    [
        ("/a/b?c", "", []),
        ("/a/b?c", "Location: d", ["/a/d"]),
        ("/a/b?c", "Location: /d?e#f", ["/d?e"]),
        ("/a/b", "Location: d | Content-Location: /e", ["/a/d", "/e"]),
        ("/a/b", "Location: http://x/d", []),
        ("/a/b", "Location: //x/d", []),
        ("/a/b", "Location: http://[x/d", []),
        ("http://x/a/b", "Location: d", ["/a/d"]),
        ("http://x/a/b", "Location: http://x/d?e", ["/d?e"]),
        ("http://x/a/b", "Location: https://x/d", []),
        ("http://x/a/b", "Location: http://x:81/d", []),
        ("http://x/a/b", "Location: //x/d", ["/d"]),
    ],
)
def test_locations_of_the_same_host_in_a_write_response_are_invalidated(
    target: str, response: str, paths: list[str]
) -> None:
    assert invalidated_also(target, fields(response)) == paths


def marks(response: str) -> Marks:
    named = fields(response)
    modified, date = date_of(named, "Last-Modified"), date_of(named, "Date")
    return Marks(named.get("ETag"), modified, date, "Stream-Next-Offset" in named)


@pytest.mark.parametrize(
    ("response", "request_fields", "has_it"),
    [
        ('ETag: "a"', "", False),
        ('ETag: "a"', 'If-None-Match: "a"', True),
        ('ETag: "a"', 'If-None-Match: W/"a"', True),
        ('ETag: W/"a"', 'If-None-Match: "a"', True),
        ('ETag: "a"', 'If-None-Match: "b", "a"', True),
        ('ETag: "a"', 'If-None-Match: "b" | If-None-Match: "a"', True),
        ('ETag: "a"', 'If-None-Match: "b", "c"', False),
        ('ETag: "a"', "If-None-Match: a", False),
        ('ETag: "a"', "If-None-Match: *", True),
        ('ETag: "a"', "If-None-Match:", False),
        ("ETag: a", "If-None-Match: a", True),
        ('ETag: w/"a"', 'If-None-Match: w/"a"', True),
        ("ETag: a", 'If-None-Match: "a"', False),
        ("", "If-None-Match: *", True),
        ("", 'If-None-Match: "a"', False),
        pytest.param(f'ETag: "a" | {OLDER}', f'If-None-Match: "b" | {SINCE_NOW}', False, id="both"),
        (OLDER, f"If-Modified-Since: {HOUR_AGO}", True),
        (NEWER, f"If-Modified-Since: {HOUR_AGO}", False),
        (OLDER, "If-Modified-Since: tomorrow", False),
        # A stream may grow twice in a second.
        pytest.param(f"Date: {HOUR_AGO} | Stream-Next-Offset: 1", SINCE_NOW, False, id="a-stream"),
        (f"Date: {HOUR_AGO}", f"If-Modified-Since: {HOUR_AGO}", True),
        (f"Date: {DATE}", f"If-Modified-Since: {HOUR_AGO}", False),
        ("", SINCE_NOW, False),
    ],
)
def test_only_a_matching_condition_is_answered_with_not_modified(
    response: str, request_fields: str, has_it: bool
) -> None:
    assert is_not_modified(fields(request_fields), marks(response)) == has_it


@pytest.mark.parametrize("text", ["", "bytes=0-", "bytes=-1"])
def test_a_range_of_an_empty_response_is_ignored(text: str) -> None:
    assert byte_range(fields(f"Range: {text}"), marks(""), 0) is None


@pytest.mark.parametrize(
    ("response", "condition", "holds"),
    [
        ('ETag: "a"', '"a"', True),
        ('ETag: "a"', '"b"', False),
        ('ETag: W/"a"', '"a"', False),
        ('ETag: W/"a"', 'W/"a"', False),
        ("", '"a"', False),
        pytest.param(DATED, MINUTE_AGO, True, id="equal"),
        pytest.param(DATED, DATE, False, id="a-later-date"),
        pytest.param(f"Date: {DATE} | Last-Modified: {DATE}", DATE, False, id="the-same-second"),
        (f"Last-Modified: {MINUTE_AGO}", MINUTE_AGO, False),
        (f"Date: {DATE}", DATE, False),
        pytest.param(DATED, "yesterday", False, id="a-malformed-date"),
    ],
)
def test_a_range_with_an_if_range_of_another_representation_is_ignored(
    response: str, condition: str, holds: bool
) -> None:
    asked = fields(f"Range: bytes=0-1 | If-Range: {condition}")
    assert byte_range(asked, marks(response), 10) == ((0, 2) if holds else None)
    beyond = fields(f"Range: bytes=10- | If-Range: {condition}")
    with pytest.raises(RangeNotSatisfiable) if holds else contextlib.nullcontext():
        assert byte_range(beyond, marks(response), 10) is None
