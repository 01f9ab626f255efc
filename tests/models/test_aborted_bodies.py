"""Bodies that no provider takes: the memory for them is free once their requests have ended."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest

from tests.models.serving import OPENAI, gateway_before
from tests.proxies.serving import PREFIX, SERVICE, gateway_with_proxy
from tests.support.raw_origin import RawOrigin, answer
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import aiohttp

    from tests.support.processes import Headgate
    from tests.support.raw_origin import Play, Wire

pytestmark = pytest.mark.usefixtures("processes")

MIB = 1 << 20
AT_ONCE = 8
LARGE = b'{"model":"m","stream":true,"input":"' + b"x" * (16 * MIB - 40) + b'"}'
SMALL = b'{"model":"m","stream":true}'
IMPATIENT = {"read_timeout": 1}
KEY = {"Authorization": "Bearer mine"}


def _then(early: bytes) -> Play:
    async def play(wire: Wire) -> None:
        await wire.send(early)
        while not wire.is_closing():
            await asyncio.sleep(0.01)

    return play


async def _reset(wire: Wire) -> None:
    await wire.reset()


ENDS: dict[str, tuple[Play, int]] = {
    "it is silent": (_then(b""), 504),
    "it resets the connection": (_reset, 502),
    "it refuses the body": (_then(answer(b"{}", "Connection: close", status="413 Too Large")), 413),
}


async def _posted(
    http: aiohttp.ClientSession, url: str, body: bytes, fields: Mapping[str, str]
) -> int:
    headers = {"Content-Type": "application/json", **fields}
    async with http.post(url, data=io.BytesIO(body), headers=headers) as response:
        await response.read()
        return response.status


async def _keeps_nothing(
    http: aiohttp.ClientSession, url: str, status: int, gateway: Headgate, **fields: str
) -> None:
    """Check that no memory remains of AT_ONCE large bodies, which are all refused."""
    assert await _posted(http, url, SMALL, fields) == status
    before = gateway.resident_bytes()
    posts = (_posted(http, url, LARGE, fields) for _ in range(AT_ONCE))
    assert set(await asyncio.gather(*posts)) == {status}
    most = before + 2 * len(LARGE)
    await until(lambda: gateway.resident_bytes() < most, within_s=5.0)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
@pytest.mark.parametrize(("play", "status"), ENDS.values(), ids=ENDS)
async def test_a_model_route_keeps_nothing_of_bodies_that_no_provider_takes(
    play: Play, status: int, path: str, http: aiohttp.ClientSession
) -> None:
    async with RawOrigin(play) as provider:
        with gateway_before(provider, settings=IMPATIENT) as gateway:
            await _keeps_nothing(http, gateway.url + OPENAI + path, status, gateway, **KEY)


@pytest.mark.parametrize(("play", "status"), ENDS.values(), ids=ENDS)
async def test_a_proxy_keeps_nothing_of_bodies_that_no_upstream_takes(
    play: Play, status: int, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    status = 502 if status < 500 else status  # a proxy's own, for whatever is no stream
    async with RawOrigin(play) as upstream:
        with gateway_with_proxy(tmp_path, IMPATIENT) as gateway:
            at = upstream.url.replace("localhost", "127.0.0.1")
            fields = {**SERVICE, "Upstream-URL": f"{at}/v1/chat", "Upstream-Method": "POST"}
            await _keeps_nothing(http, gateway.url + PREFIX, status, gateway, **fields)
