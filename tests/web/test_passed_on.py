"""What a server says of the prefixes below which it passes requests on."""

from __future__ import annotations

import json

import aiohttp
import pytest

from tests.models.provider import providing
from tests.models.serving import gateway_before

pytestmark = pytest.mark.usefixtures("processes")


async def test_a_server_tells_model_routes_apart_from_places_of_streams() -> None:
    """On its front page, where nothing is, and in the line of its start."""
    async with providing() as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider) as gateway:
            async with http.get(f"{gateway.url}/") as answer:
                found = await answer.json()
            async with http.get(f"{gateway.url}/", headers={"Accept": "text/html"}) as answer:
                page = await answer.text()
            async with http.get(f"{gateway.url}/openia/v1/models") as answer:
                detail = (await answer.json())["detail"]
            lines = [json.loads(line) for line in gateway.output().splitlines()]
    assert found["routes"] == [{"prefix": "/v1/stream"}]
    assert found["passed_on"] == [
        {"prefix": "/anthropic"},
        {"prefix": "/openai"},
        {"prefix": "/gemini"},
    ]
    streams, passed_on = page.split("Where requests are passed on")
    assert "/openai/" not in streams
    assert "/openai/" in passed_on
    assert detail == (
        "streams are below /v1/stream/; requests are passed on below /anthropic/, /openai/ and "
        "/gemini/"
    )
    started = next(line for line in lines if line["event"] == "server.started")
    stored = f"{provider.url}, stored in /v1/stream/answers"
    assert started["passed_on"][f"{gateway.url}/openai"] == stored
