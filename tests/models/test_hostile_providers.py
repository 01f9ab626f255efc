"""Providers that send what no provider should, and requests that none of them should get."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.models.scripted import scripted
from tests.models.serving import OPENAI, gateway_before

if TYPE_CHECKING:
    import aiohttp

pytestmark = pytest.mark.usefixtures("processes")

TYPE = b"Content-Type: text/event-stream\r\n"
EVENTS = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
BODY = {"model": "m", "stream": True, "messages": []}
KEY = {"Authorization": "Bearer sk-mine"}
PATH = f"{OPENAI}/v1/chat/completions"


async def test_the_address_of_the_stream_is_the_gateways_whatever_the_provider_says(
    http: aiohttp.ClientSession,
) -> None:
    fields = b"Stream-URL: http://evil/\r\nStream-Next-Offset: 7\r\nStream-Closed: true\r\n\r\n"
    async with scripted(b"HTTP/1.1 200 OK\r\n" + TYPE + fields + EVENTS) as provider:
        with gateway_before(provider) as gateway:
            async with http.post(gateway.url + PATH, json=BODY, headers=KEY) as answer:
                (url,) = answer.headers.getall("Stream-URL")
                assert url.startswith(gateway.url)
                assert answer.headers.getall("Stream-Next-Offset") == ["0" * 16 + "_" + "0" * 16]
                assert "Stream-Closed" not in answer.headers


async def test_an_answer_is_stored_without_header_fields_that_are_no_text(
    http: aiohttp.ClientSession,
) -> None:
    fields = b"X-Name: Jos\xe9\r\nX-Other: Jos\xc3\xa9\r\n\r\n"
    async with scripted(b"HTTP/1.1 200 OK\r\n" + TYPE + fields + EVENTS) as provider:
        with gateway_before(provider) as gateway:
            for _ in range(2):
                headers = {**KEY, "Idempotency-Key": "one"}
                async with http.post(gateway.url + PATH, json=BODY, headers=headers) as answer:
                    assert answer.status == 200
                    assert b"[DONE]" in await answer.read()
                    assert answer.headers["X-Other"] == "José"
                    assert "X-Name" not in answer.headers
            assert "Traceback" not in gateway.output()


@pytest.mark.parametrize(
    "line", [b"101 Switching Protocols", b"099 X", b"000 X"], ids=["101", "099", "000"]
)
async def test_a_status_that_ends_no_response_is_no_response(
    line: bytes, http: aiohttp.ClientSession
) -> None:
    response = b"HTTP/1.1 " + line + b"\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    async with scripted(response) as provider:
        with gateway_before(provider) as gateway:
            async with http.post(gateway.url + PATH, json=BODY, headers=KEY) as answer:
                assert answer.status == 502
            async with http.get(f"{gateway.url}{OPENAI}/v1/models", headers=KEY) as passed_on:
                assert passed_on.status == 502


async def test_a_request_that_is_nested_too_deeply_to_be_read_is_judged_by_the_provider(
    http: aiohttp.ClientSession,
) -> None:
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    deep = b'{"stream":true,"x":' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    async with scripted(refusal) as provider:
        with gateway_before(provider) as gateway:
            async with http.post(gateway.url + PATH, data=deep, headers=KEY) as answer:
                assert answer.status == 400
                assert not await answer.read()
            assert "Traceback" not in gateway.output()


async def test_a_comment_is_no_event_for_those_who_join_the_answer(
    http: aiohttp.ClientSession,
) -> None:
    response = b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n: wait\n\n" + EVENTS
    async with scripted(response) as provider:
        with gateway_before(provider) as gateway:
            for _ in range(2):
                headers = {**KEY, "Idempotency-Key": "one"}
                async with http.post(gateway.url + PATH, json=BODY, headers=headers) as answer:
                    assert (await answer.read()).startswith(b": wait\ndata: ")


async def test_those_who_join_an_answer_get_each_event_with_its_id_whatever_ends_its_lines(
    http: aiohttp.ClientSession,
) -> None:
    events = b"".join(EVENTS.replace(b"hi", text) for text in (b"a", b"b")).replace(b"\n", b"\r")
    async with scripted(b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n" + events) as provider:
        with gateway_before(provider) as gateway:
            bodies = []
            for _ in range(2):
                headers = {**KEY, "Idempotency-Key": "one"}
                async with http.post(gateway.url + PATH, json=BODY, headers=headers) as answer:
                    bodies.append(await answer.read())
            assert bodies[0] == bodies[1]


async def test_an_answer_with_bytes_that_are_not_utf_8_is_whole_for_those_who_join_it(
    http: aiohttp.ClientSession,
) -> None:
    events = b"".join(EVENTS.replace(b"hi", text) for text in (b"a\xff", b"\xc3(", b"b"))
    usage = b'data: {"choices":[],"usage":{"completion_tokens":3},"x":"\xff"}\n\n'
    events = events.replace(b"data: [DONE]\n\n", b"") + usage + b"data: [DONE]\n\n"
    async with scripted(b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n" + events) as provider:
        with gateway_before(provider) as gateway:
            texts = []
            for _ in range(2):
                headers = {**KEY, "Idempotency-Key": "one"}
                async with http.post(gateway.url + PATH, json=BODY, headers=headers) as answer:
                    body = (await answer.read()).decode(errors="replace")
                    texts.append("".join(re.findall(r'"content":"([^"]*)"', body)))
                    assert "[DONE]" in body, answer.status
            assert texts == ["a\ufffd\ufffd(b"] * 2
            assert "Traceback" not in gateway.output()
