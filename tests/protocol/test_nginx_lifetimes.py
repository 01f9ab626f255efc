"""How long nginx stores a response, by the fields of it."""

from __future__ import annotations

import pytest

from headgate_gateway.protocol.http.nginx_lifetimes import lines_for_nginx, stored_s


@pytest.mark.parametrize(
    ("directives", "seconds"),
    [
        (",|public, max-age=60", 60),
        (",|PUBLIC, MAX-AGE=60", 60),
        (",|max-age=5, s-maxage=60", 60),
        (",|no-cache, s-maxage=60", 60),
        (",|max-age=0", 0),
        ("max-age=7,|max-age=60", 7),
        (",max-age=7|no-store", 7),
        (",max-age=7, s-maxage=9|no-store", 9),
        (",no-store|max-age=60", None),
        (",max-age=7, no-cache|max-age=60", None),
        (",|no-store, max-age=60", None),
        (",|no-cache, max-age=60", None),
        (",|private, max-age=60", 60),
        (",|private, no-cache", 1),
        (",|max-age=60x", None),
        (',|max-age="60"', None),
        (",|max-age=60;a", 60),
        (",|max-age=", None),
        (",|", None),
        ("content=ESI,|max-age=60", 60),
    ],
)
def test_the_lifetime_is_the_one_that_nginx_reads(directives: str, seconds: int | None) -> None:
    assert stored_s(directives) == seconds


@pytest.mark.parametrize(
    ("lines", "age_s", "told"),
    [
        pytest.param(
            b"Cache-Control: max-age=60\r\n", 0, b"Cache-Control: max-age=60\r\n", id="no-age"
        ),
        pytest.param(
            b"A: b\r\nCache-Control: max-age=60\r\n",
            20,
            b"A: b\r\nCache-Control: max-age=60\r\nX-Accel-Expires: 40\r\n",
            id="an-age",
        ),
        pytest.param(
            b"cache-control: max-age=60\r\nx-accel-expires: 5\r\nC: d\r\n",
            2**31,
            b"cache-control: max-age=60\r\nC: d\r\nX-Accel-Expires: 0\r\n",
            id="an-origin-s-and-an-age-beyond-the-lifetime",
        ),
        pytest.param(b"X-Accel-Expires:\t5\r\nA: b\r\n", 0, b"A: b\r\n", id="an-origin-s-first"),
        pytest.param(b"A: X-Accel-Expires: 5\r\n", 9, b"A: X-Accel-Expires: 5\r\n", id="a-value"),
        pytest.param(b"", 9, b"", id="no-lines"),
    ],
)
def test_the_rest_of_the_lifetime_replaces_what_an_origin_commands(
    lines: bytes, age_s: int, told: bytes
) -> None:
    assert lines_for_nginx(lines, age_s) == told
