"""Copies by cookies: a reader's own is by all of them, and the gateway's own streams by none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import PER_CREDENTIAL
from tests.cdn.origin import PERSONAL, TEXT
from tests.support.http1 import Wire, ask

if TYPE_CHECKING:
    from tests.cdn.edges import Edge
    from tests.cdn.origin import HeadgateOrigin


def verdict(edge: Edge, target: str, *cookies: str) -> str | None:
    """Whether a reader with these lines is given a copy."""
    with Wire(edge.port) as wire:
        lines = [f"GET {target} HTTP/1.1", "Host: localhost", *(f"Cookie: {it}" for it in cookies)]
        wire.send("\r\n".join([*lines, "", ""]).encode())
        answer = wire.answer()
    return answer.get("x-cache-status") or answer.get("x-cache")


@pytest.mark.parametrize("edge", PER_CREDENTIAL, indirect=True, ids=str)
async def test_two_cookie_lines_have_another_cache_key_than_the_first_alone(edge: Edge) -> None:
    target = f"{edge.origin.path(PERSONAL)}?offset=-1"
    assert verdict(edge, target, "sid=a", "sid=b") == "MISS"
    assert verdict(edge, target, "sid=a") == "MISS"
    assert verdict(edge, target, "sid=a") == "HIT"


@pytest.mark.parametrize("edge", PER_CREDENTIAL, indirect=True, ids=str)
async def test_the_first_of_two_reader_cookies_counts_as_at_the_gateway(edge: Edge) -> None:
    stream = edge.stream()
    stream.append(b"data", Stream_Closed="true")
    target = f"{stream.path}?offset=-1"
    one, two = "__Secure-headgate=one", "__Secure-headgate=two"
    found = [verdict(edge, target, f"{one}; {two}"), verdict(edge, target, one)]
    assert [*found, verdict(edge, target, two)] == ["MISS", "HIT", "MISS"]


def test_the_gateway_serves_one_copy_to_readers_with_different_cookies(
    origin: HeadgateOrigin,
) -> None:
    path = origin.path()
    assert ask(origin.port, "PUT", path, b"data", Content_Type=TEXT).status == 201
    target = f"{path}?offset=-1"
    first = ask(origin.port, "GET", target)
    assert first.get("cache-status") == "Headgate; fwd=uri-miss"
    for number in range(3):
        answer = ask(origin.port, "GET", target, None, Cookie=f"_ga=GA1.{number}")
        assert (answer.body, answer.get("cache-status")) == (b"data", "Headgate; hit")
