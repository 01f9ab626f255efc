"""Servers whose final status has no meaning, as clients and operators see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.models.serving import OPENAI, gateway_before
from tests.proxies.serving import PREFIX, SERVICE, gateway_with_proxy, written
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

STATUSES = ("099", "600", "999")
ASKED = b'{"model":"m","stream":%b}'
CHAT, MODELS = "/v1/chat/completions", "/v1/models"


def answering(status: str) -> RawOrigin:
    return RawOrigin(answer(b"no", "Content-Type: text/event-stream", status=f"{status} Oh"))


async def check_counts(http: aiohttp.ClientSession, gateway: Headgate, of: str, count: int) -> None:
    """Check that requests count as `invalid`, and that no traceback is in the log."""
    async with http.get(f"{gateway.admin_url}/metrics") as metrics:
        text = await metrics.text()
    assert f'requests_total{{outcome="invalid",purpose="{of}"}} {count}.0' in text
    assert "Traceback" not in gateway.output()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("status", STATUSES)
async def test_a_provider_with_such_a_status_is_a_502_that_says_so(status: str) -> None:
    bodies = [(CHAT, ASKED % b"true"), (CHAT, ASKED % b"false"), ("/v1/embeddings", b"{}")]
    async with answering(status) as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider) as gateway:
            for path, body in bodies:
                async with http.post(f"{gateway.url}{OPENAI}{path}", data=body) as refused:
                    assert refused.status == 502, path
                    assert f"the status {status}" in (await refused.json())["detail"]
            async with http.get(f"{gateway.url}{OPENAI}{MODELS}") as refused:
                assert refused.status == 502
            await check_counts(http, gateway, "model", len(bodies) + 1)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("status", STATUSES)
async def test_an_upstream_with_such_a_status_is_a_502_that_says_so(
    status: str, tmp_path: Path
) -> None:
    written(tmp_path)
    async with answering(status) as upstream, aiohttp.ClientSession() as http:
        with gateway_with_proxy(tmp_path) as gateway:
            url = f"http://127.0.0.1:{upstream.port}/"
            headers = {**SERVICE, "Upstream-URL": url, "Upstream-Method": "GET"}
            async with http.post(gateway.url + PREFIX, headers=headers) as refused:
                assert refused.status == 502
                error = (await refused.json())["error"]
                assert error["code"] == "UPSTREAM_ERROR"
                assert f"the status {status}" in error["message"]
            await check_counts(http, gateway, "proxy", 1)


@pytest.mark.parametrize("status", STATUSES)
async def test_an_origin_with_such_a_status_is_a_502_that_says_so(status: str) -> None:
    async with answering(status) as origin, edge_serving(origin) as gateway:
        refused = await gateway.ask(get(f"{EDGE}/s?offset=-1"))
        assert refused.status == 502
        assert f"its status is {int(status)}".encode() in refused.body
