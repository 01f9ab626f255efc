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


def test_a_url_that_is_none_is_shown_where_it_can_hold_no_password() -> None:
    with pytest.raises(ValueError, match=r"and 'host:4437/v1/runs' is none$"):
        Endpoint("host:4437/v1/runs?token=s3cret")


@pytest.mark.parametrize("authorization", ["Bearer s3cret\n", "Bearer\r\ns3cret", "s3cret\0"])
def test_an_authorization_that_no_field_can_hold_is_refused(authorization: str) -> None:
    for made in (headgate.Stream, headgate.StreamWriter, headgate.Runs):
        with pytest.raises(ValueError, match="of a header field: one line") as raised:
            made("http://127.0.0.1/x", authorization=authorization)
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


async def test_a_number_that_no_counter_has_is_none() -> None:
    endless = "9" * 5000
    told = [f"Producer-Seq: {endless}", f"Stream-TTL: {endless}", "Stream-Next-Offset: 1"]
    async with (
        RawOrigin(answer(b"", *told)) as origin,
        headgate.Stream(f"{origin.url}/s") as stream,
    ):
        assert (await stream.append(b"a", content_type="text/plain")).producer_seq is None
        assert (await stream.head()).ttl_s is None


async def test_an_epoch_that_no_counter_has_is_no_takeover() -> None:
    told = answer(b"", f"Producer-Epoch: {'9' * 5000}", status="403 Forbidden")
    async with RawOrigin(told) as origin, headgate.Stream(f"{origin.url}/s") as stream:
        with pytest.raises(headgate.NotAuthorized):
            await stream.append(b"a", content_type="text/plain")
