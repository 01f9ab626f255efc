"""URLs that requests can be sent to, and what is made of the answers."""

from __future__ import annotations

import headgate
import pytest
from headgate.endpoint import Endpoint
from headgate.errors import StreamError, Unavailable
from headgate.stream_requests import StreamRequests

from tests.support.raw_origin import RawOrigin, answer


@pytest.mark.parametrize(
    "url", ["user:s3cret@host/x", "//user:s3cret@host/x", "ftp://user:s3cret@host/x", "s3cret"]
)
def test_an_invalid_stream_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="a stream has a URL such as") as raised:
        Endpoint(url)
    assert "s3cret" not in str(raised.value)


def test_an_invalid_stream_url_is_shown_without_its_query() -> None:
    with pytest.raises(ValueError, match=r"and 'host:4437/v1/runs' is none: write http"):
        Endpoint("host:4437/v1/runs?token=s3cret")


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("Bearer s3cret\n", id="a-newline"),
        pytest.param("Bearer\r\ns3cret", id="crlf"),
        pytest.param("s3cret\0", id="a-nul"),
    ],
)
def test_an_authorization_with_control_characters_is_refused_without_showing_it(
    authorization: str,
) -> None:
    for made in (StreamRequests, headgate.StreamWriter, headgate.Runs):
        with pytest.raises(ValueError, match="of a header field: one line") as raised:
            made("http://127.0.0.1/x", authorization=authorization)
        assert "s3cret" not in str(raised.value)


async def test_a_400_with_a_deeply_nested_body_raises_request_refused() -> None:
    deep = answer(b"[" * 60_000, "Content-Type: application/json", status="400 Bad Request")
    async with RawOrigin(deep) as origin, StreamRequests(f"{origin.url}/s") as stream:
        with pytest.raises(StreamError, match="400 Bad Request"):
            await stream.append(b"a", content_type="text/plain")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("Sun, 22 Nov 2026 08:00:07 GMT", 7.0),
        ("Sun, 22 Nov 99999999 08:00:00 GMT", 0.0),
        (f"Sun, 22 Nov {'9' * 30} 08:00:00 GMT", 0.0),
        pytest.param(
            f"Sun, {'9' * 400} Nov 2026 08:00:00 GMT", 0.0, id="a-day-of-four-hundred-digits"
        ),
        ("soon", 0.0),
    ],
)
def test_a_retry_after_date_is_used_if_valid_and_ignored_otherwise(
    told: str, seconds: float
) -> None:
    headers = {"Retry-After": told, "Date": "Sun, 22 Nov 2026 08:00:00 GMT"}
    assert Unavailable("later", status=503, headers=headers).retry_after == seconds


async def test_a_number_header_of_5000_digits_is_read_as_none() -> None:
    endless = "9" * 5000
    told = [f"Producer-Seq: {endless}", f"Stream-TTL: {endless}", "Stream-Next-Offset: 1"]
    async with (
        RawOrigin(answer(b"", *told)) as origin,
        StreamRequests(f"{origin.url}/s") as stream,
    ):
        assert (await stream.append(b"a", content_type="text/plain")).producer_seq is None
        assert (await stream.head()).ttl is None


async def test_a_403_with_an_oversized_producer_epoch_raises_not_authorized() -> None:
    told = answer(b"", f"Producer-Epoch: {'9' * 5000}", status="403 Forbidden")
    async with RawOrigin(told) as origin, StreamRequests(f"{origin.url}/s") as stream:
        with pytest.raises(headgate.NotAuthorized):
            await stream.append(b"a", content_type="text/plain")
