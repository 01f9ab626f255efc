"""What caches are told of an open stream's tail, where an origin told them more."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.rules.served_lifetimes import shorten, shortened_lines

DATE = ("Date", "Fri, 15 Jan 2027 08:00:00 GMT")
LATER = ("Expires", "Fri, 15 Jan 2027 08:01:00 GMT")
CONTROL, CDN, SURROGATE = "Cache-Control", "CDN-Cache-Control", "Surrogate-Control"
# Without it Varnish's built-in VCL serves a tail for ten seconds more.
NO_GRACE = "stale-while-revalidate=0"
NOT_FOR_ALL = f"no-cache, max-age=0, {NO_GRACE}"


def told(*fields: tuple[str, str], longest_s: int = 1) -> list[tuple[str, str]]:
    headers = CIMultiDict(fields)
    said = shorten(headers, longest_s, "no-cache")
    assert not said or sorted(said) == sorted(one for one in fields if one[0] != "Date")
    return [(name, value) for name, value in headers.items() if name != "Date"]


@pytest.mark.parametrize(
    "said",
    [
        "no-store",
        "no-cache",
        "private, no-cache",
        "max-age=0",
        f"public, max-age=0, s-maxage=1, {NO_GRACE}",
        "no-cache, s-maxage=1",
        "max-age=0, must-revalidate",
    ],
)
def test_a_short_tail_lifetime_of_the_origin_is_not_changed(said: str) -> None:
    assert told((CONTROL, said)) == [(CONTROL, said)]


@pytest.mark.parametrize(
    ("said", "browsers", "shared"),
    [
        ("max-age=60", NOT_FOR_ALL, "max-age=1"),
        ("public, max-age=60", f"public, no-cache, s-maxage=1, {NO_GRACE}", "public, max-age=1"),
        pytest.param(
            "public, max-age=60, stale-while-revalidate=300, must-revalidate",
            f"public, must-revalidate, no-cache, s-maxage=1, {NO_GRACE}",
            "public, must-revalidate, max-age=1",
            id="public-with-must-revalidate",
        ),
        ("max-age=0, stale-while-revalidate=9", "no-cache", None),
        ("private, max-age=60", "private, no-cache", None),
        ('private="x", s-maxage=60', 'private="x", no-cache', None),
    ],
)
def test_the_audience_of_a_tail_lifetime_stays_and_its_duration_is_shortened(
    said: str, browsers: str, shared: str | None
) -> None:
    edge = [] if shared is None else [(CDN, shared), (SURROGATE, shared)]
    lines = told((CONTROL, said))
    assert lines == [(CONTROL, browsers), *edge]
    assert told(*lines) == lines


@pytest.mark.parametrize(
    ("said", "asks"),
    [
        ("max-age=60, s-maxage=5", "no-cache"),
        ("max-age=60, s-maxage=1", "no-cache"),
        ("max-age=0, s-maxage=1", "max-age=0"),
        ("max-age=0, s-maxage=1, stale-while-revalidate=9", "max-age=0"),
    ],
)
def test_an_s_maxage_of_the_tail_is_shortened_and_gets_no_grace(said: str, asks: str) -> None:
    """It says for how long, and to some caches for whom."""
    assert told((CONTROL, said)) == [
        (CONTROL, f"{asks}, s-maxage=1, {NO_GRACE}"),
        (CDN, "max-age=1, s-maxage=1"),
        (SURROGATE, "max-age=1"),
    ]


@pytest.mark.parametrize(("longest_s", "age"), [(0, None), (1, 1), (59, 59), (60, 60), (61, 60)])
def test_shared_caches_get_the_smaller_tail_lifetime(longest_s: int, age: int | None) -> None:
    edge = [] if age is None else [(CDN, f"max-age={age}"), (SURROGATE, f"max-age={age}")]
    asks = "no-cache" if age is None else NOT_FOR_ALL
    assert told((CONTROL, "max-age=60"), longest_s=longest_s) == [(CONTROL, asks), *edge]
    assert told(DATE, LATER, longest_s=longest_s) == [(CONTROL, asks), *edge]


def test_a_tail_lifetime_for_the_edge_alone_is_shortened() -> None:
    longer = told((CONTROL, "no-store"), (CDN, "max-age=60, must-revalidate"))
    short = "must-revalidate, max-age=1"
    never = f"no-store, max-age=0, {NO_GRACE}"
    assert longer == [(CONTROL, never), (CDN, short), (SURROGATE, short)]
    none = told((CONTROL, "max-age=60"), (CDN, "no-store"))
    assert none == [(CONTROL, "no-cache"), (CDN, "no-store")]
    assert told((CONTROL, "no-cache"), (SURROGATE, "max-age=60")) == [(CONTROL, "no-cache")]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("public, max-age=60", "public, no-cache"),
        ("max-age=60, must-revalidate", "must-revalidate, no-cache"),
        ("max-age=0, stale-while-revalidate=60", "no-cache"),
        ("no-store, stale-while-revalidate=60", "no-store"),
    ],
)
def test_a_tail_lifetime_of_zero_forbids_the_edge_to_cache(said: str, kept: str) -> None:
    lines = told((CONTROL, "no-cache"), (CDN, said), longest_s=0)
    assert lines == [(CONTROL, "no-cache"), (CDN, kept)]
    assert told(*lines, longest_s=0) == lines


def test_a_tail_private_to_browsers_forbids_the_edge_to_cache() -> None:
    lines = told((CONTROL, "private"), (CDN, "public, max-age=60"))
    assert lines == [(CONTROL, "private, no-cache"), (CDN, "public, no-cache")]


@pytest.mark.parametrize(
    "said",
    [
        "max-age=60",
        "max-age=2",
        "max-age=1+60",
        "max-age=1, stale-while-revalidate=60",
        'content="ESI/1.0"',
    ],
)
@pytest.mark.parametrize("longest_s", [0, 1])
def test_a_surrogate_control_that_allows_more_is_replaced(said: str, longest_s: int) -> None:
    edge = [(CDN, "max-age=1"), (SURROGATE, "max-age=1")] if longest_s else []
    asks = NOT_FOR_ALL if longest_s else "no-cache"
    control = (CONTROL, "max-age=60")
    assert told(control, (SURROGATE, said), longest_s=longest_s) == [(CONTROL, asks), *edge]
    assert told((CONTROL, "no-cache"), (SURROGATE, said), longest_s=longest_s) == [
        (CONTROL, "no-cache")
    ]


@pytest.mark.parametrize("said", ["max-age=1", "max-age=0", "no-store", "no-cache"])
@pytest.mark.parametrize(
    "control",
    ["no-cache", f"no-cache, s-maxage=1, {NO_GRACE}", f"max-age=0, s-maxage=1, {NO_GRACE}"],
)
def test_a_surrogate_control_that_allows_no_more_is_not_changed(control: str, said: str) -> None:
    fields = [(CONTROL, control), (SURROGATE, said)]
    assert told(*fields) == fields


def test_a_surrogate_control_that_allows_no_more_stays_where_the_others_are_shortened() -> None:
    fields = CIMultiDict([(CONTROL, "public, max-age=60"), (SURROGATE, "no-store")])
    said = list(fields.items())
    assert shorten(fields, 1, "no-cache") == said
    assert list(fields.items()) == [
        (CONTROL, f"public, no-cache, s-maxage=1, {NO_GRACE}"),
        (CDN, "public, max-age=1"),
        (SURROGATE, "no-store"),
    ]


@pytest.mark.parametrize(
    "said", ["", pytest.param(f"Vary: Accept\r\n{CONTROL}: no-store\r\n", id="no-store")]
)
def test_lines_that_allow_no_more_than_the_tail_lifetime_are_not_changed(said: str) -> None:
    assert shortened_lines(said, Freshness()) == said


def test_lines_that_allow_more_are_shortened_like_fields() -> None:
    assert shortened_lines(f"{CONTROL}: public, max-age=60\r\nVary: Accept\r\n", Freshness()) == (
        f"Vary: Accept\r\n{CONTROL}: public, no-cache, s-maxage=1, {NO_GRACE}\r\n"
        f"{CDN}: public, max-age=1\r\n{SURROGATE}: public, max-age=1\r\n"
    )


@pytest.mark.parametrize(
    ("said", "browsers"),
    [
        ("public, max-age=60", f"public, max-age=0, s-maxage=1, {NO_GRACE}"),
        ("max-age=60, s-maxage=5", f"max-age=0, s-maxage=1, {NO_GRACE}"),
        # Here Cache-Control tells shared caches nothing.
        ("max-age=60", NOT_FOR_ALL),
        ("private, max-age=60", "private, no-cache"),
    ],
)
def test_browsers_get_max_age_0_for_the_tail_if_the_route_says_so(said: str, browsers: str) -> None:
    fields = CIMultiDict([(CONTROL, said)])
    assert shorten(fields, 1, "max-age=0") == [(CONTROL, said)]
    assert fields[CONTROL] == browsers
