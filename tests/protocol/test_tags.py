"""Tags: short, computed by anybody, and only on what shared caches may keep."""

from __future__ import annotations

import re
import subprocess

import pytest
from multidict import CIMultiDict

from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.cache_headers import (
    TAG_DIGITS,
    Freshness,
    retag,
    route_tag,
    stream_tag,
    tag_lines,
    tagged,
)
from headgate_gateway.protocol.http.paths import MAX_PATH_BYTES

PATH, PREFIX = "/v1/stream/a%2Fb", "/v1/stream"
ROUTE = route_tag(PREFIX)
STREAM = stream_tag(PATH)
FRESHNESS = Freshness(route_tag=ROUTE)
OURS = {
    "Surrogate-Key": f"{STREAM} {ROUTE}",
    "Cache-Tag": f"{STREAM},{ROUTE}",
    "CDN-Tag": f"{STREAM},{ROUTE}",
}


@pytest.mark.usefixtures("processes")
def test_a_shell_command_computes_the_tag_of_a_path() -> None:
    command = f"printf %s '{PATH}' | sha256sum | cut -c1-{TAG_DIGITS}"
    printed = subprocess.run(["bash", "-c", command], capture_output=True, check=True, text=True)
    assert stream_tag(PATH) == f"s-{printed.stdout.strip()}"
    assert route_tag(PATH) == f"r-{printed.stdout.strip()}"


@pytest.mark.parametrize("size", [1, MAX_PATH_BYTES])
def test_a_tag_has_the_same_length_for_the_longest_path(size: int) -> None:
    assert re.fullmatch(r"s-[0-9a-f]{16}", stream_tag("/" + "x" * (size - 1)))
    assert len(tag_lines("/" + "x" * (size - 1), ROUTE)) < 160


def test_paths_that_differ_in_an_encoded_slash_have_different_tags() -> None:
    assert stream_tag("/v1/stream/a/b") != stream_tag("/v1/stream/a%2Fb")


STORED = {
    "a-chunk": cache_headers.chunk_lifetime(FRESHNESS, None),
    "the-tail": cache_headers.tail_lifetime(FRESHNESS),
    "a-poll": cache_headers.poll_lifetime(Freshness(), None),
    "stale-while-revalidate": "Cache-Control: public, max-age=0, stale-while-revalidate=5\r\n",
}
NOT_STORED = {
    "no-store": cache_headers.NO_STORE,
    "private": cache_headers.PRIVATE,
    "an-event-stream": cache_headers.EVENT_STREAM,
    "a-poll-that-timed-out": cache_headers.POLL_TIMEOUT,
    "a-chunk-that-expires-within-a-second": cache_headers.chunk_lifetime(FRESHNESS, 0.5),
    "a-tail-lifetime-of-zero": cache_headers.tail_lifetime(Freshness(tail_max_age=0)),
    "private-in-another-spelling": "Cache-Control: Private, max-age=60\r\n",
    "max-age-of-two-zeros": "Cache-Control: max-age=00\r\n",
}


@pytest.mark.parametrize("lifetime", STORED.values(), ids=STORED)
def test_responses_that_shared_caches_may_store_are_tagged(lifetime: str) -> None:
    lines = tagged(lifetime, PATH, FRESHNESS)
    assert lines.startswith(lifetime)
    assert dict(cache_headers.fields(lines.removeprefix(lifetime))) == OURS


@pytest.mark.parametrize("lifetime", NOT_STORED.values(), ids=NOT_STORED)
def test_private_or_immediately_stale_responses_are_not_tagged(lifetime: str) -> None:
    assert tagged(lifetime, PATH, FRESHNESS) == lifetime


def test_tags_of_the_origin_stay_and_the_gateways_are_added_once() -> None:
    fields = CIMultiDict([("surrogate-key", f"a  {STREAM}"), ("Cache-Tag", "b, c"), ("X", "y")])
    for _ in range(2):
        retag(fields, PATH, ROUTE, is_tagged=True)
        assert dict(fields) == {
            "Surrogate-Key": f"a {STREAM} {ROUTE}",
            "Cache-Tag": f"b,c,{STREAM},{ROUTE}",
            "CDN-Tag": f"{STREAM},{ROUTE}",
            "X": "y",
        }
    retag(fields, PATH, ROUTE, is_tagged=False)
    assert dict(fields) == {"Surrogate-Key": "a", "Cache-Tag": "b,c", "X": "y"}
