"""URLs that requests can be sent to, and what is made of the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import headgate
from headgate.names import MOST_SHOWN, shown, stream_url
from headgate.runs import Runs
from headgate.stream_requests import StreamRequests
from tests.support.raw_origin import RawOrigin, answer
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path

BASE = "http://127.0.0.1:1/v1/stream"


def below(base: str) -> str:
    return stream_url(base, "a/b?c")


BELOW = Runs, headgate.Client
SCHEMES = "", "//", "ftp://"


@pytest.mark.parametrize(
    ("made", "url", "words"),
    [
        *((StreamRequests, f"{scheme}user:s3cret@host/x", "is none") for scheme in SCHEMES),
        (StreamRequests, "s3cret", "this is none"),
        (StreamRequests, "http://user:s3cret@host:no", "this is none"),
        (StreamRequests, "host:4437/v1/runs?token=s3cret", "'host:4437/v1/runs' is none: write"),
        *((made, f"{BASE}?token=s3cret", "ends with its path") for made in BELOW),
        *((made, f"{BASE}#s3cret", "ends with its path") for made in BELOW),
    ],
)
def test_an_invalid_url_is_refused_without_showing_its_secrets(
    made: Any, url: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        made(url)
    assert "s3cret" not in str(raised.value)


def test_a_name_is_one_segment_of_a_url_that_is_shown_cut() -> None:
    assert below(BASE) == below(f"{BASE}/") == f"{BASE}/a%2Fb%3Fc"
    url = f"http://host/{'x' * MOST_SHOWN}"
    assert shown(url) == f"{url[:MOST_SHOWN]}..."
    assert shown(url[:MOST_SHOWN]) == url[:MOST_SHOWN]


ENDLESS = "9" * 5000  # Python refuses to read a number that is so long


async def test_header_fields_and_bodies_beyond_all_bounds_are_read_as_none() -> None:
    numbers = [f"Producer-Seq: {ENDLESS}", f"Stream-TTL: {ENDLESS}", "Stream-Next-Offset: 1"]
    async with RawOrigin(answer(b"", *numbers)) as origin, StreamRequests(origin.url) as stream:
        assert (await stream.append(b"a", content_type="text/plain")).producer_seq is None
        assert (await stream.head()).ttl is None


async def test_a_redis_at_the_url_of_a_client_is_told_as_no_http(
    tmp_path: Path, processes: None
) -> None:
    with redis_server(tmp_path) as redis:
        url = f"http://{redis.url.partition('//')[2]}"
        for retries in (0, 1):
            async with headgate.Client(url, retries=retries) as hg:
                with pytest.raises(headgate.Unavailable, match="no HTTP is spoken there"):
                    await hg.open("s")


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (
            answer(b"", f"Producer-Epoch: {ENDLESS}", status="403 Forbidden"),
            headgate.NotAuthorized,
        ),
        (
            answer(b"[" * 60_000, "Content-Type: application/json", status="400 Bad Request"),
            headgate.BadRequest,
        ),
    ],
    ids=["an endless epoch", "a deeply nested body"],
)
async def test_a_refusal_that_cannot_be_read_is_that_of_its_status(
    refused: bytes, error: type[Exception]
) -> None:
    async with RawOrigin(refused) as origin, StreamRequests(origin.url) as stream:
        with pytest.raises(error):
            await stream.append(b"a", content_type="text/plain")
