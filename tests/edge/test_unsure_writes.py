"""Writes of which the gateway nearer to the origin does not know whether they were done."""

from __future__ import annotations

import pytest

from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, request

S = f"{EDGE}/s"
MINUTE = "Cache-Control: max-age=60"


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
@pytest.mark.parametrize(
    ("status", "kept"),
    [
        ("502 Bad Gateway", False),
        ("504 Gateway Timeout", False),
        ("503 Service Unavailable", True),
        ("500 Oops", True),
        ("409 Conflict", True),
    ],
)
async def test_a_write_with_502_or_504_drops_cached_responses(
    method: str, status: str, kept: bool
) -> None:
    unsure = answer(status=status)
    scripts = (answer(b"old", MINUTE), unsure, answer(b"new", MINUTE))
    async with RawOrigin(*scripts) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(get(S))).body == b"old"
        assert (await gateway.ask(request(method, S))).status == int(status[:3])
        assert (await gateway.ask(get(S))).body == (b"old" if kept else b"new")


async def test_a_refused_head_request_drops_no_cached_response() -> None:
    scripts = (answer(b"old", MINUTE), answer(status="504 Gateway Timeout"), answer(b"new"))
    async with RawOrigin(*scripts) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(get(S))).body == b"old"
        assert (await gateway.ask(request("HEAD", f"{S}?a=1"))).status == 504
        assert (await gateway.ask(get(S))).body == b"old"
