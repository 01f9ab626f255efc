"""How the cache had part in an answer, read by a parser of structured fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.protocol.http import cache_status
from tests.support.cache_status import said

if TYPE_CHECKING:
    from headgate_gateway.protocol.http.cache_status import CacheUse


def read(lines: bytes) -> tuple[dict[str, str], dict[str, object]]:
    """The simple fields by name, and what the one member of Cache-Status says."""
    assert lines.endswith(b"\r\n")
    fields = dict(line.split(": ", 1) for line in lines.decode().split("\r\n")[:-1])
    assert sorted(fields) == ["Age", "Cache-Status", "X-Cache", "X-Cache-Hits"]
    return fields, said([fields.pop("Cache-Status")])


def simple(x_cache: str, age: int = 0, hits: int = 0) -> dict[str, str]:
    return {"Age": str(age), "X-Cache": x_cache, "X-Cache-Hits": str(hits)}


USES: dict[str, tuple[CacheUse, str, dict[str, object]]] = {
    "miss": (cache_status.MISS, "MISS", {"fwd": "uri-miss"}),
    "collapsed": (cache_status.COLLAPSED, "COLLAPSED", {"fwd": "uri-miss", "collapsed": True}),
    "failed": (cache_status.FAILED, "MISS", {"fwd": "miss"}),
    "bypass": (cache_status.BYPASS, "BYPASS", {"fwd": "bypass"}),
    "other-method": (cache_status.OTHER_METHOD, "BYPASS", {"fwd": "method"}),
}


@pytest.mark.parametrize(("use", "x_cache", "parameters"), USES.values(), ids=USES)
def test_cache_status_lines_without_numbers_parse_to_their_fields(
    use: CacheUse, x_cache: str, parameters: dict[str, object]
) -> None:
    assert use.result == x_cache
    assert read(use.lines) == (simple(x_cache), parameters)


@given(st.integers(0, 10**9))
def test_a_hosted_hit_reports_its_number_of_hits(hits: int) -> None:
    assert read(cache_status.HIT % hits) == (simple("HIT", 0, hits), {"hit": True})


@given(st.integers(0, 10**9), st.integers(0, 2**31), st.integers(-(2**31), 2**31))
def test_a_fresh_hit_reports_its_age_its_hits_and_its_remaining_lifetime(
    hits: int, age: int, ttl: int
) -> None:
    before, after = cache_status.fresh_hit(age, ttl)
    assert read(before + str(hits).encode() + after) == (
        simple("HIT", age, hits),
        {"hit": True, "ttl": ttl},
    )


@pytest.mark.parametrize(
    ("x_cache", "parameters", "meaning"),
    [
        ("STALE", "hit; ttl=-3", {"hit": True, "ttl": -3}),
        ("STALE", "fwd=stale; detail=stale-if-error", {"fwd": "stale", "detail": "stale-if-error"}),
        pytest.param(
            "REVALIDATED",
            "fwd=stale; fwd-status=304; stored",
            {"fwd": "stale", "fwd-status": 304, "stored": True},
            id="revalidated",
        ),
        pytest.param(
            "COLLAPSED",
            "fwd=uri-miss; fwd-status=200; collapsed; stored",
            {"fwd": "uri-miss", "fwd-status": 200, "collapsed": True, "stored": True},
            id="collapsed-and-stored",
        ),
    ],
)
def test_cache_status_lines_with_numbers_parse_to_their_fields(
    x_cache: str, parameters: str, meaning: dict[str, object]
) -> None:
    use = cache_status.cache_use(x_cache, parameters, age=7, hits=2)
    assert read(use.lines) == (simple(x_cache, 7, 2), meaning)


def test_the_gateways_own_field_names_equal_the_fields_of_its_cache_lines() -> None:
    names = {
        line.split(":")[0].lower() for line in cache_status.MISS.lines.decode().split("\r\n")[:-1]
    }
    ours = {name.lower() for name in cache_status.OF_THE_ANSWER}
    assert names - {"cache-status"} == ours - {"x-request-id"}  # to that one we add (RFC 9211)
