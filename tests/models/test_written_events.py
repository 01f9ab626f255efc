"""Events that Headgate writes into an answer itself: valid by the types of every SDK."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from anthropic.types import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseErrorEvent
from openai.types.shared import ErrorObject

from headgate.events import events_of, parse
from headgate_gateway.features.models.completion import with_id
from tests.models.answers import chat_completion, message, response
from tests.models.provider import Provider, providing
from tests.models.read_answers import SDKS, Call, reading
from tests.models.scripted import ended, scripted
from tests.models.serving import ANTHROPIC, OPENAI, gateway_before
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.support.processes import Headgate

PATHS = {
    "chat": f"{OPENAI}/v1/chat/completions",
    "response": f"{OPENAI}/v1/responses",
    "message": f"{ANTHROPIC}/v1/messages",
}
ANSWERS = {"chat": chat_completion(), "response": response(), "message": message()}
FIRST = 3  # events that come before the end
KEY = {"Authorization": "Bearer sk-mine", "X-Api-Key": "sk-mine", "Idempotency-Key": "one"}


async def nothing(_http: aiohttp.ClientSession, _gateway: Headgate, _url: str) -> None:
    """Do nothing: the answer ends by itself."""


async def deleted(http: aiohttp.ClientSession, _gateway: Headgate, url: str) -> None:
    async with http.delete(url) as answer:
        assert answer.status == 204


async def cancelled(http: aiohttp.ClientSession, gateway: Headgate, _url: str) -> None:
    path = f"{gateway.url}{OPENAI}/v1/responses/resp_1/cancel"
    async with http.post(path, headers=KEY) as answer:
        assert answer.status == 200


async def stopped(_http: aiohttp.ClientSession, gateway: Headgate, _url: str) -> None:
    assert await asyncio.to_thread(gateway.terminate) == 0
    gateway.start()


async def killed(http: aiohttp.ClientSession, gateway: Headgate, url: str) -> None:
    async def is_stored() -> bool:
        headers = {"Connection": "close"}  # else the next request would find it broken
        async with http.get(f"{url}?offset=-1", headers=headers) as read:
            return (await read.read()).count(b"\n\n") == FIRST

    await until(is_stored)
    gateway.kill()
    gateway.start()


# How an answer is ended, the settings for that, and a word of the reason.
WAYS: dict[str, tuple[Any, dict[str, object], str]] = {
    "cut": (nothing, {}, "broke off"),
    "silent": (nothing, {"read_timeout": 2.0}, "stopped in the middle"),
    "too long": (nothing, {"max_answer_size": 0}, "max_answer_size"),
    "deleted": (deleted, {}, "was deleted"),
    "cancelled": (cancelled, {}, "was cancelled"),
    "stopped": (stopped, {}, "gateway stopped"),
    "killed": (killed, {}, "gateway stopped"),
}


async def ended_by(
    way: str, kind: str, http: aiohttp.ClientSession, provider: Provider, folder: Path
) -> bytes:
    """Return the body of a response whose answer was ended in a way after its first events."""
    stop, settings, _ = WAYS[way]
    if "max_answer_size" in settings:
        settings = {"max_answer_size": len(b"".join(ANSWERS[kind][:FIRST]))}
    if way == "cut":
        provider.cuts_after = FIRST
    provider.hold()
    provider.allow(1_000 if way in ("cut", "too long") else FIRST)
    environment = {"HEADGATE_SHUTDOWN__GRACE": "0.2"}
    with gateway_before(provider, folder, settings, environment) as gateway:
        request: dict[str, Any] = {"json": {"model": "m", "stream": True}, "headers": KEY}
        async with http.post(gateway.url + PATHS[kind], **request) as answer:
            body = b""
            while body.count(b"\n\n") < FIRST:
                assert not answer.content.at_eof(), (way, body)
                body += await answer.content.readany()
            await stop(http, gateway, answer.headers["Stream-URL"])
            if way not in ("killed", "stopped"):  # which may cut the connection before it
                return body + await answer.read()
        async with http.post(gateway.url + PATHS[kind], **request) as again:
            return await again.read()


def check_types(kind: str, event: bytes, number: int) -> str:
    """Return the sentence of an event that is valid by the types of its SDK in Python."""
    parsed = parse(event)
    assert parsed is not None
    name, value = parsed.name, json.loads(parsed.data)
    if kind == "chat":
        assert (name, value.keys()) == (b"", {"error"})
        return ErrorObject.model_validate(value["error"], strict=True).message
    assert name == b"error"
    if kind == "message":
        return ErrorResponse.model_validate(value, strict=True).error.message
    found = ResponseErrorEvent.model_validate(value, strict=True)
    assert found.sequence_number == number
    return found.message


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", PATHS)
async def test_events_that_end_an_answer_are_valid_for_every_sdk(
    http: aiohttp.ClientSession, kind: str, tmp_path: Path
) -> None:
    async with reading() as readers:
        for way, (_, _, reason) in WAYS.items():
            if way == "cancelled" and kind != "response":
                continue
            async with providing() as provider:
                body = await ended_by(way, kind, http, provider, tmp_path / way)
            blocks = [block + b"\n\n" for block in body.split(b"\n\n")[:-1]]
            assert len(blocks) <= FIRST + 1, way
            sentence = check_types(kind, blocks[-1], FIRST)
            assert reason in sentence, way
            async with scripted(ended(body)) as replay:
                for sdk in SDKS:
                    found = await readers.read(sdk, Call(kind, replay.url, "m", ""))
                    assert sentence in (found.error or ""), (way, sdk, found)
                    assert "validation" not in (found.error or "").lower(), (way, sdk, found)


BLOCKS = {
    "data": (b"data: a\n\n", b"data: a\nid: 7\n\n"),
    "data without a blank": (b"data:a\n\n", b"data:a\nid: 7\n\n"),
    "empty data": (b"data\n\n", b"data\nid: 7\n\n"),
    "CR LF": (b"event: x\r\ndata: a\r\n\r\n", b"event: x\r\ndata: a\nid: 7\n\n"),
    "CR": (b"event: x\rdata: a\r\r", b"event: x\rdata: a\nid: 7\n\n"),
    "an id before the data": (b"id: up\ndata: a\n\n", b"id: up\ndata: a\nid: 7\n\n"),
    "an id after the data": (b"data: a\nid: up\n\n", b"data: a\nid: up\nid: 7\n\n"),
    "a third line end before it": (b"\ndata: a\n\n", b"data: a\nid: 7\n\n"),
    "line ends alone": (b"\r\n\r\n", b""),
    "a comment": (b": wait\n\n", b": wait\n"),
    "a comment after a blank line": (b"\r\n: wait\r\n\r\n", b": wait\n"),
    "comments with data": (b": wait\ndata: a\n\n", b": wait\ndata: a\nid: 7\n\n"),
    "an unknown field": (b"foo: bar\n\n", b"foo: bar\n"),
    "a field that begins like data": (b"database: 3\n\n", b"database: 3\n"),
    "a word without a colon": (b"ping\n\n", b"ping\n"),
    "a line with a blank": (b" \n\n", b" \n"),
    "a time to wait": (b"retry: 3\n\n", b"retry: 3\n"),
    "a name without data": (b"event: ping\n\n", b""),
    "an id without data": (b"id: up\nid\n\n", b""),
}


@pytest.mark.parametrize(("block", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_a_block_with_data_alone_gets_an_id_and_the_blank_line_after_it(
    block: bytes, expected: bytes
) -> None:
    assert with_id(block, b"7") == expected


@given(st.lists(st.sampled_from([block for block, _ in BLOCKS.values()]), max_size=8))
def test_openai_s_decoder_gets_from_numbered_events_the_data_that_parsers_get(
    blocks: list[bytes],
) -> None:
    from openai._streaming import SSEDecoder  # a second, which most processes can do without

    sent = b"".join(blocks)
    expected = [event.data for event in map(parse, events_of(sent)) if event is not None]
    body = b"".join(with_id(block, b"7") for block in events_of(sent))
    assert [it.data.encode() for it in SSEDecoder().iter_bytes(iter([body]))] == expected
