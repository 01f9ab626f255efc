"""How an answer has ended is judged by its events: what clients, the record and a metric say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import anthropic
import openai
import pytest

from tests.models.answers import chat_completion, event, message, response
from tests.models.scripted import HEAD, ended, scripted
from tests.models.serving import ANTHROPIC, OPENAI, gateway_before
from tests.models.test_sdks import CALLS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import aiohttp

pytestmark = pytest.mark.usefixtures("processes")

CHAT, RESPONSE, MESSAGE = "chat completion", "response", "message"
PATHS = {
    CHAT: f"{OPENAI}/v1/chat/completions",
    RESPONSE: f"{OPENAI}/v1/responses",
    MESSAGE: f"{ANTHROPIC}/v1/messages",
}
EVENTS = {CHAT: chat_completion(), RESPONSE: response(), MESSAGE: message()}
SDK_ERRORS = (openai.APIError, anthropic.APIError)
CHAT_ERROR = event({"error": {"message": "Busy", "type": "overloaded_error", "code": None}})
MESSAGE_ERROR = event(
    {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, "error"
)
FAILED_RESPONSE = {"id": "resp_1", "status": "failed", "error": {"code": "busy", "message": "Busy"}}
RESPONSE_FAILED = event(
    {"type": "response.failed", "sequence_number": 9, "response": FAILED_RESPONSE},
    "response.failed",
)
# Chunks until the answer has its text, and until all arguments of its tool have begun.
TEXT, HALF_OF_ARGUMENTS = 4, 9


class End(NamedTuple):
    """An answer of a provider, and how it ends for its clients.

    `calls` are those for two requests with one key: the second joins the answer of one.
    """

    kind: str
    response: bytes
    outcome: str
    raises: bool
    calls: int


def failed(kind: str, response: bytes, calls: int = 2) -> End:
    return End(kind, response, "failed", raises=True, calls=calls)


def complete(kind: str, events: Sequence[bytes]) -> End:
    return End(kind, ended(b"".join(events)), "complete", raises=False, calls=1)


def body(kind: str, *events: bytes, until: int = TEXT) -> bytes:
    return b"".join((*EVENTS[kind][:until], *events))


ENDS = {
    "a chat without its end": failed(CHAT, ended(body(CHAT))),
    "half of an event": failed(CHAT, ended(body(CHAT) + EVENTS[CHAT][TEXT][:40])),
    "half of a tool's arguments": failed(CHAT, ended(body(CHAT, until=HALF_OF_ARGUMENTS))),
    "no event at all": failed(CHAT, ended(b"")),
    "a message without its end": failed(MESSAGE, ended(b"".join(EVENTS[MESSAGE][:-1]))),
    "a response without its end": failed(RESPONSE, ended(b"".join(EVENTS[RESPONSE][:-1]))),
    "a body that the connection ends": failed(
        CHAT, HEAD + b"Connection: close\r\n\r\n" + body(CHAT)
    ),
    "a body of HTTP/1.0": failed(
        MESSAGE, HEAD.replace(b"1.1", b"1.0") + b"\r\n" + body(MESSAGE, until=9)
    ),
    "a reason without [DONE]": complete(CHAT, EVENTS[CHAT][:-2]),
    "[DONE] without a reason": complete(CHAT, [*EVENTS[CHAT][:TEXT], EVENTS[CHAT][-1]]),
    "an end that lacks its blank line": complete(
        CHAT, [*EVENTS[CHAT][:TEXT], EVENTS[CHAT][-1].rstrip()]
    ),
    "a byte order mark": complete(CHAT, [b"\xef\xbb\xbf", *EVENTS[CHAT]]),
    "events of no known dialect": complete(CHAT, [event({"token": "a"})]),
    "an error amid a chat": failed(CHAT, ended(body(CHAT, CHAT_ERROR)), calls=1),
    "an error amid a message": failed(MESSAGE, ended(body(MESSAGE, MESSAGE_ERROR)), calls=1),
    "a response that failed": End(
        RESPONSE, ended(body(RESPONSE, RESPONSE_FAILED)), "failed", raises=False, calls=1
    ),
    "an error as the first event of a chat": failed(CHAT, ended(CHAT_ERROR)),
    "an error as the first event of a message": failed(MESSAGE, ended(MESSAGE_ERROR)),
    "a response cut after its last event": End(
        RESPONSE,
        HEAD + b"Content-Length: 99999\r\n\r\n" + b"".join(EVENTS[RESPONSE]),
        "complete",
        raises=False,
        calls=1,
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_an_answer_is_complete_only_with_its_end(
    http: aiohttp.ClientSession, end: End
) -> None:
    call, prefix = CALLS[end.kind]
    fields = {"Idempotency-Key": "one"}
    async with scripted(end.response) as provider:
        with gateway_before(provider) as gateway:
            for _ in range(2):
                if end.raises:
                    with pytest.raises(SDK_ERRORS):
                        await call(gateway.url, prefix, extra_headers=fields)
                else:
                    await call(gateway.url, prefix, extra_headers=fields)
            assert provider.calls == end.calls
            async with http.get(
                f"{gateway.admin_url}/api/v1/runs", params={"route": prefix}
            ) as runs:
                name = (await runs.json())["runs"][0]["name"]
            of_streams = {"route": "/v1/stream"}
            async with http.get(f"{gateway.admin_url}/api/v1/runs", params=of_streams) as refused:
                assert (
                    "answers of models are runs of /openai and /anthropic" in await refused.text()
                )
            async with http.get(f"{gateway.url}/v1/stream/{name}/record?offset=-1") as record:
                last = json.loads(await record.read())[-1]
            async with http.get(f"{gateway.admin_url}/metrics") as metrics:
                found = await metrics.text()
    assert (last["outcome"], last["reason"] is None) == (end.outcome, end.outcome == "complete")
    count = f'outcome="{end.outcome}",route="{prefix}"}} {float(end.calls)}'
    assert f"headgate_model_answers_total{{{count}" in found


@pytest.mark.parametrize("view", ["ai-sdk", "ag-ui"])
async def test_views_of_an_answer_without_its_end_end_with_an_error(
    http: aiohttp.ClientSession, view: str
) -> None:
    async with scripted(ENDS["a chat without its end"].response) as provider:
        with gateway_before(provider) as gateway:
            fields = {"Authorization": "Bearer sk-mine"}
            request: dict[str, Any] = {"json": {"stream": True}, "headers": fields}
            async with http.post(gateway.url + PATHS[CHAT], **request) as answer:
                await answer.read()
                url = answer.headers["Stream-URL"]
            async with http.get(url, params={"view": view}) as read:
                lines = (await read.text()).splitlines()
    chunks = [json.loads(it[5:]) for it in lines if it.startswith("data:") and "[DONE]" not in it]
    ends = [
        one for one in chunks if one["type"] in ("error", "finish", "RUN_ERROR", "RUN_FINISHED")
    ]
    errors = [{"type": "error"}, {"type": "finish", "finishReason": "error"}]
    expected = errors if view == "ai-sdk" else [{"type": "RUN_ERROR"}]
    shown = [{key: one[key] for key in ("type", "finishReason") if key in one} for one in ends]
    assert shown == expected


async def test_a_key_in_a_named_stream_is_free_after_an_answer_without_its_end(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    fields = {"Idempotency-Key": "one", "Headgate-Stream": "chat"}
    async with scripted(ENDS["a chat without its end"].response) as provider:
        with gateway_before(provider, tmp_path) as gateway:
            call, prefix = CALLS[CHAT]
            with pytest.raises(openai.APIError, match="without the last event"):
                await call(gateway.url, prefix, extra_headers=fields)
            provider.response = ended(b"".join(EVENTS[CHAT]))
            whole = await call(gateway.url, prefix, extra_headers=fields)
            joined = await call(gateway.url, prefix, extra_headers=fields)
            assert len(joined) <= len(whole)
            assert provider.calls == 2
            async with http.get(f"{gateway.url}/v1/stream/answers/chats/chat?offset=-1") as read:
                raw = await read.text()
    outcomes = [line for line in raw.splitlines() if '"outcome"' in line]
    assert [json.loads(it[5:])["outcome"] for it in outcomes] == ["failed", "complete"]


LAST = {
    "[DONE]": (CHAT, EVENTS[CHAT]),
    "response.completed": (RESPONSE, EVENTS[RESPONSE]),
    "message_stop": (MESSAGE, EVENTS[MESSAGE]),
    "overloaded_error": (CHAT, [*EVENTS[CHAT][:TEXT], CHAT_ERROR]),
}


@pytest.mark.parametrize(("last", "answer"), LAST.items(), ids=LAST)
async def test_every_reader_gets_the_last_event_of_an_answer_that_is_cut_after_two_cr(
    http: aiohttp.ClientSession, last: str, answer: tuple[str, list[bytes]]
) -> None:
    kind, events = answer
    sent = b"".join(events).replace(b"\n", b"\r")
    key = {"Authorization": "Bearer sk-mine", "X-Api-Key": "sk-mine", "Idempotency-Key": "one"}
    async with scripted(HEAD + b"Content-Length: 99999\r\n\r\n" + sent) as provider:
        with gateway_before(provider) as gateway:
            request: dict[str, Any] = {"json": {"stream": True}, "headers": key}
            async with http.post(gateway.url + PATHS[kind], **request) as response:
                bodies = [await response.text()]
                url = response.headers["Stream-URL"]
            async with http.post(gateway.url + PATHS[kind], **request) as folded:
                bodies.append(await folded.text())
            async with http.get(url, params={"view": "sse"}) as view:
                bodies.append(await view.text())
            if kind == RESPONSE:
                by_id = f"{gateway.url}{PATHS[kind]}/resp_1"
                after = {"stream": "true", "starting_after": str(len(events) - 2)}
                async with http.get(by_id, params=after, headers=key) as response:
                    bodies.append(await response.text())
                async with http.get(by_id, headers=key) as response:
                    assert (await response.json())["status"] == "completed"
    assert [last in body for body in bodies] == [True] * len(bodies)
    assert provider.calls == 1


MARK, DONE = b"\xef\xbb\xbf", b"data: [DONE]\r\r"
# A body of which each event has its blank line, and what is stored of it.
STORED = {
    "LF": (b"".join(EVENTS[CHAT]), b"".join(EVENTS[CHAT])),
    "CR LF": (DONE.replace(b"\r", b"\r\n"), DONE.replace(b"\r", b"\r\n")),
    "CR": (b"".join(EVENTS[CHAT]).replace(b"\n", b"\r"),) * 2,
    "CR, after a byte order mark": (MARK + DONE, DONE),
}


@pytest.mark.parametrize("is_cut", [False, True], ids=["ended", "cut"])
async def test_the_events_of_an_answer_are_stored_byte_by_byte_up_to_the_last_one(
    http: aiohttp.ClientSession, is_cut: bool
) -> None:
    async with scripted(b"") as provider:
        with gateway_before(provider) as gateway:
            for name, (sent, stored) in STORED.items():
                cut = HEAD + b"Content-Length: 99999\r\n\r\n" + sent
                provider.response = cut if is_cut else ended(sent)
                async with http.post(gateway.url + PATHS[CHAT], json={"stream": True}) as answer:
                    await answer.read()
                async with http.get(answer.headers["Stream-URL"]) as read:
                    assert await read.read() == stored, name


SAME_AS_DIRECT = {
    "a third line end": b"\n".join(EVENTS[CHAT]),
    "CR LF thrice": b"\r\n".join(EVENTS[CHAT]),
    "an unknown field": b"foo: bar\n\n".join(EVENTS[CHAT]),
    "a word": b"ping\n\n".join(EVENTS[CHAT]),
    "a line with a blank": b" \n\n".join(EVENTS[CHAT]),
    "a comment after a blank line": b"\n: wait\n\n".join(EVENTS[CHAT]),
    "ids": b"".join(b"id: up-%d\n%b" % it for it in enumerate(EVENTS[CHAT])),
    "ids at the end": b"".join(
        b"%b\nid: up-%d\n\n" % (it.rstrip(), number) for number, it in enumerate(EVENTS[CHAT])
    ),
}


async def test_blocks_without_data_and_ids_of_a_provider_change_nothing_for_the_sdk(
    http: aiohttp.ClientSession,
) -> None:
    call, prefix = CALLS[CHAT]
    async with scripted(b"") as provider:
        with gateway_before(provider) as gateway:
            for key, events in SAME_AS_DIRECT.items():
                provider.response = ended(events)
                direct = await call(provider.url, "")
                assert await call(gateway.url, prefix) == direct, key
                fields = {"Authorization": "Bearer sk-mine", "Idempotency-Key": key}
                request: dict[str, Any] = {"json": {"stream": True}}
                url = gateway.url + PATHS[CHAT]
                async with http.post(url, headers=fields, **request) as answer:
                    first, _, rest = (await answer.read()).partition(b"\n\n")
                last = {"Last-Event-ID": first.rpartition(b"id: ")[2].decode()}
                async with http.post(url, headers=fields | last, **request) as again:
                    assert await again.read() == rest, key
