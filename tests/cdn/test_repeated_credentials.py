"""A reader's copy is by all that says who the reader is, also where that is in two lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import PER_CREDENTIAL
from tests.cdn.origin import PERSONAL
from tests.support.http1 import Wire

if TYPE_CHECKING:
    from tests.cdn.edges import Edge


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
