"""Requests that a model route passes on besides answers: their places and their bodies."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.models.serving import OPENAI, answering
from tests.proxies.serving import PREFIX, SERVICE, gateway_with_proxy, written
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

KEY = {"Authorization": "Bearer sk-mine"}
CHAT = "/v1/chat/completions"
STREAMED, WHOLE = ({"model": "m", "stream": it} for it in (True, False))


async def pieces() -> AsyncIterator[bytes]:
    yield b"in "
    await asyncio.sleep(0)
    yield b"parts"


async def status(
    http: aiohttp.ClientSession,
    gateway: Headgate,
    method: str,
    path: str,
    body: object = None,
    key: str = "sk-mine",
) -> int:
    """Return the status of the response to a request that is passed on, once it is read."""
    data = json.dumps(body) if isinstance(body, dict) else body
    if body is pieces:
        data = pieces()
    headers = {"Authorization": f"Bearer {key}"}
    async with http.request(
        method, f"{gateway.url}{OPENAI}{path}", data=data, headers=headers
    ) as response:
        await response.read()
        return int(response.status)


async def figure(http: aiohttp.ClientSession, gateway: Headgate, name: str) -> float:
    """Return the sum of a metric over its labels."""
    async with http.get(f"{gateway.admin_url}/metrics") as metrics:
        text = await metrics.text()
    return sum(map(float, re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("POST", "/v1/embeddings", {"input": "x"}, id="embeddings"),
        pytest.param("GET", "/v1/responses/resp_9", None, id="a poll by id"),
        pytest.param("GET", "/v1/models", None, id="a list"),
        pytest.param("DELETE", "/v1/files/file_1", None, id="a deletion"),
        pytest.param("POST", "/v1/files", pieces, id="an upload"),
    ],
)
async def test_what_is_passed_on_has_places_of_its_own_as_many_as_answers_have(
    http: aiohttp.ClientSession, method: str, path: str, body: object
) -> None:
    async with answering(settings={"max_answers": 4, "max_client_answers": 2}) as (
        provider,
        gateway,
    ):
        assert await status(http, gateway, method, path, body) == 200  # which accepts the key
        provider.hold_heads()
        passing = [asyncio.create_task(status(http, gateway, method, path, body)) for _ in range(2)]
        await until(lambda: len(provider.requests) == 3)
        assert await status(http, gateway, method, path, body) == 429
        others = [
            asyncio.create_task(status(http, gateway, method, path, body, key))
            for key in ("another", "a third")
        ]
        await until(lambda: len(provider.requests) == 5)
        assert await status(http, gateway, method, path, body, "a fourth") == 503
        assert await figure(http, gateway, "headgate_model_passed_running") == 4
        assert await figure(http, gateway, "headgate_model_passed_refused_total") == 2
        assert await status(http, gateway, "POST", CHAT, WHOLE) == 200
        assert await figure(http, gateway, "headgate_model_answers_refused_total") == 0
        provider.allow_heads()
        assert {*await asyncio.gather(*passing, *others)} == {200}
        assert await status(http, gateway, method, path, body) == 200
        assert await figure(http, gateway, "headgate_model_passed_running") == 0


async def test_answers_leave_the_places_of_what_is_passed_on_which_settings_may_bound(
    http: aiohttp.ClientSession,
) -> None:
    bounds = {
        "max_answers": 2,
        "max_client_answers": 1,
        "max_passed": 3,
        "max_client_passed": 3,
    }
    async with answering(settings=bounds) as (provider, gateway):
        assert await status(http, gateway, "GET", "/v1/models") == 200
        provider.hold_heads()
        answer = asyncio.create_task(status(http, gateway, "POST", CHAT, STREAMED))
        await until(lambda: len(provider.requests) == 2)
        assert await status(http, gateway, "POST", CHAT, WHOLE) == 429
        passing = [
            asyncio.create_task(status(http, gateway, "GET", "/v1/models")) for _ in range(3)
        ]
        await until(lambda: len(provider.requests) == 5)
        assert await status(http, gateway, "GET", "/v1/models", key="another") == 503
        provider.allow_heads()
        assert {await answer, *await asyncio.gather(*passing)} == {200}


MOST = 100_000
LONG = "x" * 60_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(CHAT, {**STREAMED, "user": LONG}, id="of a stored answer"),
        pytest.param(CHAT, {**WHOLE, "user": LONG}, id="of a whole answer"),
        pytest.param("/v1/responses/resp_1/cancel", {"user": LONG}, id="of a request by id"),
    ],
)
async def test_a_body_that_waits_for_the_head_of_its_provider_counts_like_one_that_comes(
    http: aiohttp.ClientSession, path: str, body: object
) -> None:
    bounds = {
        "HEADGATE_LIMITS__MAX_APPEND": str(MOST),
        "HEADGATE_LIMITS__MAX_PENDING_APPENDS": str(MOST),
    }
    async with answering(environment=bounds) as (provider, gateway):
        provider.hold_heads()
        provider.lingers = asyncio.Event()
        waiting = asyncio.create_task(status(http, gateway, "POST", path, body))
        await until(lambda: len(provider.requests) == 1)
        held = await figure(http, gateway, "headgate_receiving_bytes")
        assert held == len(json.dumps(body))
        assert await status(http, gateway, "POST", CHAT, {**WHOLE, "user": LONG}) == 503
        assert len(provider.requests) == 1
        provider.allow_heads()
        provider.lingers.set()
        assert await waiting == 200
        assert await figure(http, gateway, "headgate_receiving_bytes") == 0
        assert await status(http, gateway, "POST", CHAT, {**WHOLE, "user": LONG}) == 200


@pytest.mark.parametrize("streams", [True, False], ids=["stored", "passed on"])
@pytest.mark.parametrize("end", ["refused", "broken off", "left"])
async def test_a_body_no_longer_counts_after_each_end_of_its_request(
    http: aiohttp.ClientSession, end: str, streams: bool
) -> None:
    body = {"model": "m", "stream": streams, "user": LONG}
    async with answering(settings={"leave": "stop"}) as (provider, gateway):
        provider.breaks_before_head = end == "broken off"
        provider.statuses = [400] if end == "refused" else []
        if end == "left":
            provider.hold_heads()
            provider.lingers = asyncio.Event()
            leaving = asyncio.create_task(status(http, gateway, "POST", CHAT, body))
            await until(lambda: len(provider.requests) == 1)
            leaving.cancel()
        else:
            refused = await status(http, gateway, "POST", CHAT, body)
            assert refused == (400 if end == "refused" else 502)

        async def is_released() -> bool:
            return await figure(http, gateway, "headgate_receiving_bytes") == 0

        await until(is_released)


async def test_the_body_of_a_proxied_request_counts_until_its_upstream_responds(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    body = json.dumps({"model": "m", "stream": False, "user": LONG})
    written(tmp_path)
    async with answering() as (provider, _):
        provider.lingers = asyncio.Event()
        with gateway_with_proxy(tmp_path) as gateway:
            fields = {**SERVICE, "Upstream-URL": provider.url + CHAT, "Upstream-Method": "POST"}

            async def created() -> int:
                async with http.post(gateway.url + PREFIX, data=body, headers=fields) as it:
                    return int(it.status)

            waiting = asyncio.create_task(created())
            await until(lambda: len(provider.requests) == 1)
            assert await figure(http, gateway, "headgate_receiving_bytes") == len(body)
            provider.lingers.set()
            assert await waiting == 201
            assert await figure(http, gateway, "headgate_receiving_bytes") == 0
