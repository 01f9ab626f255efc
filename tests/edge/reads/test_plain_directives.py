"""Fields of caching that caches in front read as the gateway does."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from headgate_gateway.rules.plain_directives import write_plainly

SAID_PLAINLY = [
    ("Cache-Control", "max-age=2, max-age=20", "max-age=2"),
    ("Cache-Control", "max-age=0, public, max-age=20", "max-age=0, public"),
    ("Cache-Control", "S-MaxAge=1, s-maxage=20, max-age=5", "s-maxage=1, max-age=5"),
    ("Cache-Control", 'ext="a, max-age=20, b", max-age=1', "max-age=1"),
    ("Cache-Control", 'ext="max-age=20", private', "private"),
    ("Cache-Control", "x-s-maxage=20, max-age=1", "max-age=1"),
    ("Cache-Control", 'ext="max-age=20"', "max-age=0"),
    ("Cache-Control", "must-revalidate, s-maxage=20.0", "must-revalidate, s-maxage=0"),
    ("Cache-Control", "max-age=+20", "max-age=0"),
    ("Cache-Control", "max-age= 20", "max-age=0"),
    ("Cache-Control", "max-age = 20", "max-age=0"),
    ("Cache-Control", "max-age", "max-age=0"),
    ("Cache-Control", 'max-age="20"', "max-age=20"),
    ("Cache-Control", 'private="x-a, x-b", max-age=20x', 'private="x-a, x-b", max-age=0'),
    ("Cache-Control", 'private="max-age, x-a", max-age=20', "private, max-age=20"),
    ("Cache-Control", 'No-Cache="x-max-age", max-age=20', "no-cache, max-age=20"),
    (
        "Cache-Control",
        "max-age=3, stale-while-revalidate=1x",
        "max-age=3, stale-while-revalidate=0",
    ),
    ("Surrogate-Control", 'content="a, max-age=20, b"', None),
    ("Surrogate-Control", "max-age=20, max-age=1", "max-age=20"),
    ("CDN-Cache-Control", "max-age=20, max-age=1", "max-age=1"),
    ("CDN-Cache-Control", 'max-age=1, x="a, max-age=20"', "max-age=1"),
    ("CDN-Cache-Control", "public, max-age=20.5", "public"),
]
PLAIN = [
    ("Cache-Control", "max-age=-3600, public"),
    ("Cache-Control", "Max-Age=3,\tPUBLIC , stale-while-revalidate=1"),
    ("Cache-Control", 'private="set-cookie", ext="a, b"'),
    ("Surrogate-Control", 'content="ESI/1.0", max-age=60'),
    ("CDN-Cache-Control", "max-age=20, s-maxage=3"),
]


@pytest.mark.parametrize(
    ("name", "said", "expected"), SAID_PLAINLY, ids=[": ".join(row[:2]) for row in SAID_PLAINLY]
)
def test_what_caches_in_front_would_misread_is_said_plainly(
    name: str, said: str, expected: str | None
) -> None:
    fields = CIMultiDict({name: said})

    write_plainly(fields)

    assert fields.get(name) == expected
    write_plainly(fields)
    assert fields.get(name) == expected


@pytest.mark.parametrize(("name", "said"), PLAIN, ids=map(": ".join, PLAIN))
def test_a_line_that_all_caches_read_alike_stays_as_it_came(name: str, said: str) -> None:
    fields = CIMultiDict({name: said})

    write_plainly(fields)

    assert fields[name] == said
