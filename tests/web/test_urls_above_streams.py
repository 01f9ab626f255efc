"""What whoever opens a URL above the streams in a browser is told."""

from __future__ import annotations

import json

import pytest

from tests.support.serving import request, serving


async def detail(path: str, status: int, *, method: str = "GET") -> str:
    async with serving() as gateway:
        answer = await gateway.ask(request(method, path))
        assert answer.status == status
        return str(json.loads(answer.body)["detail"])


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_a_request_above_all_streams_gets_404_that_names_the_prefix(method: str) -> None:
    for path in ("/v1/stream", "/elsewhere/x"):
        assert await detail(path, 404, method=method) == "streams are below /v1/stream/"
    assert await detail("/v1/stream/", 404, method=method) == "a stream has a name: /v1/stream/NAME"


@pytest.mark.parametrize("path", ["//", "//v1/stream/s", "/v1/stream//", "/v1/stream/s/", "/a//b"])
async def test_a_path_with_an_empty_segment_gets_400(path: str) -> None:
    assert await detail(path, 400) == "the path has an empty segment"
