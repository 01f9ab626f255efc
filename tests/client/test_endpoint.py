"""URLs that requests can be sent to, and what is made of the answers."""

from __future__ import annotations

import headgate
import pytest
from headgate.endpoint import Endpoint
from headgate.errors import RequestRefused

from tests.support.raw_origin import RawOrigin, answer


@pytest.mark.parametrize(
    "url", ["user:s3cret@host/x", "//user:s3cret@host/x", "ftp://user:s3cret@host/x", "s3cret"]
)
def test_a_url_that_is_none_is_not_printed(url: str) -> None:
    with pytest.raises(ValueError, match="a stream has a URL such as") as raised:
        Endpoint(url)
    assert "s3cret" not in str(raised.value)


async def test_an_error_that_is_nested_too_deeply_to_be_read_is_a_refusal() -> None:
    deep = answer(b"[" * 60_000, "Content-Type: application/json", status="400 Bad Request")
    async with RawOrigin(deep) as origin, headgate.Stream(f"{origin.url}/s") as stream:
        with pytest.raises(RequestRefused, match="400 Bad Request"):
            await stream.append(b"a", content_type="text/plain")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("Sun, 22 Nov 2026 08:00:07 GMT", 7.0),
        ("Sun, 22 Nov 99999999 08:00:00 GMT", 0.0),
        (f"Sun, 22 Nov {'9' * 30} 08:00:00 GMT", 0.0),
        (f"Sun, {'9' * 400} Nov 2026 08:00:00 GMT", 0.0),
        ("soon", 0.0),
    ],
)
def test_a_moment_to_come_again_counts_if_it_is_one(told: str, seconds: float) -> None:
    headers = {"Retry-After": told, "Date": "Sun, 22 Nov 2026 08:00:00 GMT"}
    assert RequestRefused("later", 503, headers).retry_after_s == seconds
