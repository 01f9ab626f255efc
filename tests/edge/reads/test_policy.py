"""What is stored of the answers of an origin, and for how long."""

from __future__ import annotations

import pytest

from headgate_gateway.rules.directives import LONGEST_S
from headgate_gateway.rules.policy import Times
from tests.edge.reads.responses import (
    DATE,
    HOUR_AGO,
    IN_AN_HOUR,
    MINUTE_AGO,
    NOW,
    YEAR_AGO,
    keep,
    kept,
)


@pytest.mark.parametrize(
    "status",
    [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599],
)
@pytest.mark.parametrize("says", ["max-age=60", "s-maxage=60", "max-age=60, public"])
def test_a_response_of_any_final_status_is_stored_with_an_explicit_lifetime(
    status: int, says: str
) -> None:
    stored = kept(f"Cache-Control: {says}", status=status)
    assert (stored.status, stored.lifetime) == (status, 60)


@pytest.mark.parametrize(
    ("method", "status"),
    [
        *(("GET", status) for status in (100, 103, 199, 206, 304, 412, 416)),
        *((method, 200) for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get")),
    ],
)
def test_only_final_and_whole_responses_to_get_are_stored(method: str, status: int) -> None:
    says = 'Cache-Control: public, max-age=60 | ETag: "a"'
    assert keep(says, method=method, status=status) is None


@pytest.mark.parametrize(
    "says",
    [
        "no-store",
        "No-StOrE, max-age=60",
        "max-age=60, no-store",
        "private",
        "private, max-age=60",
        'private="set-cookie", max-age=60',
        "public, max-age=60, private",
    ],
)
def test_a_private_or_no_store_response_is_not_stored(says: str) -> None:
    assert keep(f'Cache-Control: {says} | ETag: "a" | Expires: {IN_AN_HOUR}') is None


@pytest.mark.parametrize(
    ("status", "says", "is_stored"),
    [
        (200, "max-age=60, no-store, must-understand", True),
        (200, "max-age=60, must-understand", True),
        (599, "max-age=60, no-store, must-understand", False),
        (599, "max-age=60, must-understand", False),
        (200, "max-age=60, no-store, must-understand, private", False),
    ],
)
def test_must_understand_overrides_no_store_only_for_known_statuses(
    status: int, says: str, is_stored: bool
) -> None:
    assert (keep(f"Cache-Control: {says}", status=status) is not None) == is_stored


@pytest.mark.parametrize(
    ("says", "is_stored"),
    [
        ("max-age=60", False),
        ("max-age=60, proxy-revalidate", False),
        ("max-age=60, public", True),
        ("s-maxage=60", True),
        ("max-age=60, must-revalidate", True),
        ("public, private", False),
    ],
)
def test_a_response_to_an_authorized_request_is_stored_only_if_permitted(
    says: str, is_stored: bool
) -> None:
    stored = keep(f"Cache-Control: {says}", request="Authorization: Bearer x")
    assert (stored is not None) == is_stored


@pytest.mark.parametrize("vary", ["*", "*, *", "* | Vary: *", ", *", " | Vary: *", "*, a", "a, *"])
def test_a_response_that_varies_by_everything_is_not_stored(vary: str) -> None:
    assert keep(f"Cache-Control: max-age=60 | Vary: {vary}") is None


@pytest.mark.parametrize(
    "response",
    [
        "",
        f"Date: {DATE}",
        "Cache-Control: public",
        "Cache-Control: max-age=0",
        "Cache-Control: no-cache, max-age=60",
        "Cache-Control: max-age=60 | Age: 660",
        f"Expires: {HOUR_AGO}",
    ],
)
def test_a_response_without_lifetime_and_validator_is_not_stored(response: str) -> None:
    assert keep(response, stale_if_error=600) is None
    assert keep(f'{response} | ETag: "a"') is not None
    assert keep(f"{response} | Last-Modified: {MINUTE_AGO}") is not None


@pytest.mark.parametrize(
    "response",
    [
        "Cache-Control: max-age=0, stale-while-revalidate=9",
        "Cache-Control: max-age=0, stale-if-error=9",
        "Cache-Control: max-age=60, stale-if-error=9 | Age: 68",
    ],
)
def test_a_response_that_may_be_served_stale_is_stored(response: str) -> None:
    assert keep(response) is not None


def test_a_response_with_a_cookie_is_stored_only_with_an_explicit_lifetime() -> None:
    cookie = f'Set-Cookie: a=b | ETag: "a" | Date: {DATE} | Last-Modified: {YEAR_AGO}'
    assert keep(cookie) is None
    assert keep(f"{cookie} | Cache-Control: public") is None
    assert kept(f"{cookie} | Cache-Control: max-age=60").lifetime == 60
    assert kept(f"{cookie} | Expires: {IN_AN_HOUR}").lifetime == 3600


@pytest.mark.parametrize(
    ("response", "lifetime"),
    [
        ("Cache-Control: max-age=60", 60),
        ("Cache-Control: max-age=60, s-maxage=1", 1),
        ("Cache-Control: s-maxage=1, max-age=60", 1),
        ("Cache-Control: max-age=60 | Cache-Control: s-maxage=1", 1),
        ("Cache-Control: max-age=1, s-maxage=60", 60),
        ("Cache-Control: max-age=0, s-maxage=60 | Expires: 0", 60),
        ("Cache-Control: s-maxage=x, max-age=60", 0),
        ("Cache-Control: max-age=-60", 0),
        ("Cache-Control: max-age=99999999999", LONGEST_S),
        pytest.param(f"Cache-Control: max-age=60 | Expires: {HOUR_AGO}", 60, id="before-expires"),
        pytest.param(f"Cache-Control: max-age=0 | Expires: {IN_AN_HOUR}", 0, id="zero-first"),
        pytest.param(f"Cache-Control: public | Expires: {IN_AN_HOUR}", 3600, id="beside-public"),
        (f"Expires: {IN_AN_HOUR}", 3600),
        pytest.param(f"Expires: {IN_AN_HOUR} | Date: {MINUTE_AGO}", 3660, id="from-its-date"),
        (f"Expires: {IN_AN_HOUR} | Date: yesterday", 3600),
        pytest.param(f"Expires: {IN_AN_HOUR} | Expires: {HOUR_AGO}", 3600, id="the-first-of-two"),
        ("Expires: Sun, 21 Nov 2286 04:46:39 GMT", LONGEST_S),
        (f"Expires: {HOUR_AGO}", 0),
        ("Expires: 0", 0),
        (f"Expires: 0 | Last-Modified: {YEAR_AGO}", 0),
    ],
)
def test_the_most_specific_lifetime_directive_decides_how_long_a_response_is_fresh(
    response: str, lifetime: float
) -> None:
    assert kept(f'ETag: "a" | {response}').lifetime == lifetime


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308])
def test_a_response_without_lifetime_is_fresh_for_a_tenth_of_its_age(status: int) -> None:
    assert kept(f"Date: {DATE} | Last-Modified: {HOUR_AGO}", status=status).lifetime == 360
    assert kept(f"Last-Modified: {HOUR_AGO}", status=status).lifetime == 360


@pytest.mark.parametrize("status", [404, 405, 410, 414, 501])
@pytest.mark.parametrize(
    ("modified", "lifetime"), [(MINUTE_AGO, 6), (HOUR_AGO, 60), (YEAR_AGO, 60)]
)
def test_an_error_without_lifetime_is_fresh_for_a_minute_at_most(
    status: int, modified: str, lifetime: float
) -> None:
    assert kept(f"Last-Modified: {modified}", status=status).lifetime == lifetime


@pytest.mark.parametrize("status", [201, 202, 302, 307, 400, 403, 500, 502, 503, 504, 599])
def test_other_statuses_get_a_guessed_lifetime_only_if_public(status: int) -> None:
    response = f"Date: {DATE} | Last-Modified: {HOUR_AGO}"
    assert keep(response, status=status) is None
    lifetime = 360 if status < 400 else 60
    assert kept(f"{response} | Cache-Control: public", status=status).lifetime == lifetime


@pytest.mark.parametrize(
    ("modified", "lifetime"),
    [(YEAR_AGO, 24 * 3600), (DATE, 0), (IN_AN_HOUR, 0)],
)
def test_a_heuristic_lifetime_is_between_zero_and_a_day(modified: str, lifetime: float) -> None:
    assert kept(f"Date: {DATE} | Last-Modified: {modified}").lifetime == lifetime


def test_a_no_cache_response_has_a_lifetime_of_zero() -> None:
    stored = kept(f'Cache-Control: no-cache, max-age=60 | Expires: {IN_AN_HOUR} | ETag: "a"')
    assert stored.lifetime == 0
    assert kept('Cache-Control: no-cache="a", max-age=60 | ETag: "a"').lifetime == 0


@pytest.mark.parametrize(
    ("targeted", "lifetime"),
    [
        ("max-age=3600", 3600),
        ("max-age=1", 1),
        ("s-maxage=5, max-age=1", 5),
        ("max-age=60;a=b, foobar", 60),
        ("max-age=0", 0),
        ("max-age=-1", 0),
        ("public", 0),
        ("no-cache, max-age=60", 0),
    ],
)
@pytest.mark.parametrize(
    "others",
    [
        "Cache-Control: no-store",
        pytest.param(f"Cache-Control: max-age=10 | Expires: {IN_AN_HOUR}", id="with-an-expiry"),
    ],
)
def test_a_targeted_field_overrides_all_other_lifetimes(
    targeted: str, others: str, lifetime: float
) -> None:
    stored = kept(f'CDN-Cache-Control: {targeted} | {others} | ETag: "a"')
    assert stored.lifetime == lifetime


@pytest.mark.parametrize("targeted", ["no-store", "private", "max-age=60, no-store"])
def test_a_targeted_field_can_forbid_storing(targeted: str) -> None:
    assert keep(f"CDN-Cache-Control: {targeted} | Cache-Control: max-age=60") is None


@pytest.mark.parametrize("targeted", ["", "max-age=60, &&", 'max-age="60"', "Max-Age=60"])
def test_a_targeted_field_that_does_not_parse_leaves_cache_control_in_force(targeted: str) -> None:
    assert keep(f"CDN-Cache-Control: {targeted} | Cache-Control: no-store") is None
    assert kept(f"CDN-Cache-Control: {targeted} | Cache-Control: max-age=5").lifetime == 5


@pytest.mark.parametrize(
    ("response", "times", "age"),
    [
        pytest.param("", Times(NOW, NOW), 0, id="no-header"),
        pytest.param("", Times(NOW - 2, NOW), 2, id="a-response-after-two-seconds"),
        pytest.param("", Times(NOW + 2, NOW), 0, id="a-clock-that-went-back"),
        pytest.param(f"Date: {DATE}", Times(NOW, NOW), 0, id="a-current-date"),
        pytest.param(f"Date: {DATE}", Times(NOW + 0.9, NOW + 0.9), 0, id="under-a-second-ago"),
        pytest.param(f"Date: {DATE}", Times(NOW + 1.5, NOW + 1.5), 1, id="over-a-second-ago"),
        pytest.param(f"Date: {MINUTE_AGO}", Times(NOW - 2, NOW), 60, id="a-date-a-minute-ago"),
        pytest.param(f"Date: {IN_AN_HOUR}", Times(NOW - 2, NOW), 2, id="a-date-in-the-future"),
        pytest.param("Age: 30", Times(NOW, NOW), 30, id="an-age"),
        pytest.param("Age: 30", Times(NOW - 2, NOW), 32, id="an-age-and-two-seconds-in-transit"),
        pytest.param("Age: 30, 5", Times(NOW, NOW), 30, id="two-ages"),
        pytest.param("Age: -30", Times(NOW, NOW), 0, id="a-negative-age"),
        pytest.param(f"Age: 30 | Date: {MINUTE_AGO}", Times(NOW, NOW), 60, id="an-older-date"),
        pytest.param(f"Age: 90 | Date: {MINUTE_AGO}", Times(NOW, NOW), 90, id="a-younger-date"),
        pytest.param("Age: 99999999999", Times(NOW, NOW), LONGEST_S, id="an-age-beyond-the-limit"),
    ],
)
def test_the_age_of_a_response_is_the_highest_that_any_source_gives(
    response: str, times: Times, age: float
) -> None:
    stored = kept(f'ETag: "a" | Cache-Control: max-age=600 | {response}', times=times)
    assert stored.born == times.answered - age
    assert stored.age(times.answered) == age
    assert stored.fresh_until == stored.born + 600


@pytest.mark.parametrize(
    ("after", "age"), [(-5, 0), (0, 0), (0.99, 0), (1, 1), (59.5, 59), (2**40, LONGEST_S)]
)
def test_age_is_whole_seconds_between_zero_and_longest_s(after: float, age: int) -> None:
    assert kept("Cache-Control: max-age=60").age(NOW + after) == age
