"""What a server says of the prefixes below which it passes requests on."""

from __future__ import annotations

import json

import aiohttp
import pytest

from tests.models.provider import providing
from tests.models.serving import gateway_before

pytestmark = pytest.mark.usefixtures("processes")


async def test_the_front_page_does_not_take_a_model_route_for_a_place_of_streams() -> None:
    async with providing() as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider) as gateway:
            async with http.get(f"{gateway.url}/") as answer:
                found = await answer.json()
            async with http.get(f"{gateway.url}/", headers={"Accept": "text/html"}) as answer:
                page = await answer.text()
    assert found["routes"] == [{"prefix": "/v1/stream"}]
    assert found["passed_on"] == [{"prefix": "/anthropic"}, {"prefix": "/openai"}]
    streams, passed_on = page.split("Where requests are passed on")
    assert "/openai/" not in streams
    assert "/openai/" in passed_on


async def test_a_path_where_nothing_is_gets_the_prefixes_of_models_apart() -> None:
    async with providing() as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider) as gateway:
            async with http.get(f"{gateway.url}/openia/v1/models") as answer:
                assert (await answer.json())["detail"] == (
                    "streams are below /v1/stream/; "
                    "requests are passed on below /anthropic/ and /openai/"
                )


async def test_the_line_of_the_start_has_the_model_routes_and_their_providers() -> None:
    async with providing() as provider:
        with gateway_before(provider) as gateway:
            lines = [json.loads(line) for line in gateway.output().splitlines()]
            started = next(line for line in lines if line["event"] == "server.started")
            assert started["passed_on"][f"{gateway.url}/openai"] == (
                f"{provider.url}, stored in /v1/stream/answers"
            )
