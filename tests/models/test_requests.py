"""Requests as agents and other SDKs send them: a prefix of keys, upgrades, other paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.models.provider import ANSWERS
from tests.models.serving import OPENAI, answering

if TYPE_CHECKING:
    import aiohttp

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

CHAT = "/v1/chat/completions"
KEY = {"Authorization": "Bearer sk-mine"}
PREFIX, IDEMPOTENCY = "Headgate-Key-Prefix", "Idempotency-Key"


async def ask(
    http: aiohttp.ClientSession,
    gateway: Headgate,
    path: str = CHAT,
    model: str = "m",
    **fields: str,
) -> tuple[int, str | None]:
    """Return the status and the stream of an answer; `_` in names of fields is a hyphen."""
    headers = {**KEY, **{name.replace("_", "-"): value for name, value in fields.items()}}
    body: Any = {"model": model, "stream": True}
    async with http.post(f"{gateway.url}{OPENAI}{path}", json=body, headers=headers) as answer:
        await answer.read()
        return answer.status, answer.headers.get("Stream-URL")


async def test_a_prefix_makes_a_key_of_each_path_and_body_so_an_agent_sends_one_header(
    http: aiohttp.ClientSession,
) -> None:
    asked = [(CHAT, "a", "job"), (CHAT, "b", "job"), ("/v1/responses", "a", "job")]
    asked += [(f"{CHAT}?api-version=2", "a", "job"), (CHAT, "a", "other")]
    async with answering() as (provider, gateway):
        first, again = [
            [
                await ask(http, gateway, path, model, Headgate_Key_Prefix=prefix)
                for path, model, prefix in asked
            ]
            for _ in range(2)
        ]
        assert first == again
        assert len({url for _, url in first}) == len(provider.requests) == len(asked)
        assert not any(PREFIX in request.headers for request in provider.requests)


async def test_a_prefix_names_each_answer_of_an_agent_in_one_stream(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        fields = {"Headgate_Stream": "job-8", "Headgate_Key_Prefix": "job-8"}
        urls = [await ask(http, gateway, model=model, **fields) for model in "abab"]
    assert len({*urls}) == 1
    assert len(provider.requests) == 2


async def test_the_id_of_a_provider_stands_beside_that_of_headgate(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        for path in (CHAT, "/v1/models"):
            provider.statuses, provider.refusal_fields = [400], {"X-Request-Id": "theirs"}
            headers = {**KEY, "X-Request-Id": "ours"}
            async with http.post(gateway.url + OPENAI + path, json={}, headers=headers) as answer:
                assert answer.headers.getall("X-Request-Id") == ["ours"]
                assert answer.headers.getall("X-Provider-Request-Id") == ["theirs"]


async def test_a_prefix_is_refused_where_nobody_could_join(http: aiohttp.ClientSession) -> None:
    async with answering() as (provider, gateway):
        headers, body = {PREFIX: "job"}, {"model": "m", "stream": True}
        async with http.post(gateway.url + OPENAI + CHAT, json=body, headers=headers) as refused:
            assert refused.status == 400
            assert PREFIX in (await refused.json())["detail"]
        assert not provider.requests


WRONG = {
    "both fields": {"Headgate_Key_Prefix": "job", "Idempotency_Key": "one"},
    "a long prefix": {"Headgate_Key_Prefix": "j" * 257},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_a_prefix_that_cannot_make_a_key_is_refused_by_name(
    http: aiohttp.ClientSession, fields: dict[str, str]
) -> None:
    async with answering() as (provider, gateway):
        headers = {**KEY, **{name.replace("_", "-"): value for name, value in fields.items()}}
        body = {"model": "m", "stream": True}
        async with http.post(gateway.url + OPENAI + CHAT, json=body, headers=headers) as refused:
            assert refused.status == 400
            assert PREFIX in (await refused.json())["error"]["message"]
    assert not provider.requests


# A path, a field that names an answer, and whether the request is passed on.
PASSED_ON = {
    "a prefix with embeddings": ("/v1/embeddings", {PREFIX: "job"}, True),
    "a prefix and a stream": ("/v1/embeddings", {PREFIX: "job", "Headgate-Stream": "one"}, False),
    "a stream for images": ("/v1/images/generations", {"Headgate-Stream": "one"}, False),
    "a stream in the query": ("/v1/images/generations?headgate-stream=one", {}, False),
    "a prefix where tokens are counted": ("/v1/responses/input_tokens", {PREFIX: "job"}, True),
    "a key of an SDK": ("/v1/embeddings", {IDEMPOTENCY: "sdk-retry-1"}, True),
}


@pytest.mark.parametrize(("path", "fields", "is_sent"), PASSED_ON.values(), ids=PASSED_ON)
async def test_a_request_that_names_a_stream_is_refused_at_a_path_that_stores_none(
    http: aiohttp.ClientSession, path: str, fields: dict[str, str], is_sent: bool
) -> None:
    async with answering() as (provider, gateway):
        url = f"{gateway.url}{OPENAI}{path}"
        async with http.post(url, json={"model": "m"}, headers={**KEY, **fields}) as answer:
            told = await answer.text()
    sent = [(it.rel_url.path, it.headers.get(IDEMPOTENCY)) for it in provider.requests]
    assert not any(PREFIX in it.headers for it in provider.requests)
    assert sent == ([(path, fields.get(IDEMPOTENCY))] if is_sent else [])
    if not is_sent:
        assert answer.status == 400
        assert "no answers are stored at this path: send the request without Headgate-Str" in told


# The id of the last event that a client has, the stream that it names, and the status. An id that
# ends where the stream does is that of the answer before.
LAST_EVENTS = {
    "malformed": ("one", None, 400),
    "of a stream that is gone": ("0000000000000001_0000000000000009", None, 410),
    "malformed, in a named stream": ("7", "chat", 400),
    "of another stream, in a named one": ("0000000000000001_0000000000000009", "chat", 410),
    "of the answer before in the named stream": ("", "chat", 200),
}


@pytest.mark.parametrize(("last", "stream", "status"), LAST_EVENTS.values(), ids=LAST_EVENTS)
async def test_an_event_of_no_answer_is_refused_before_the_provider_is_called(
    http: aiohttp.ClientSession, last: str, stream: str | None, status: int
) -> None:
    fields = {"Idempotency_Key": "two", **({"Headgate_Stream": stream} if stream else {})}
    async with answering() as (provider, gateway):
        _, url = await ask(http, gateway, **{**fields, "Idempotency_Key": "one"})
        async with http.head(str(url)) as end:
            last = last or end.headers["Stream-Next-Offset"]
        called = len(provider.requests)
        answered = await ask(http, gateway, Last_Event_ID=last, **fields)
        assert answered[0] == status
        assert len(provider.requests) == called + (status == 200)


# Azure's by deployment, Azure's newer one, Google's, and providers without a folder.
OTHER_PATHS = {
    "Azure, by deployment": ("/openai/deployments/gpt/chat/completions?api-version=2024", CHAT),
    "Azure, responses": ("/openai/responses?api-version=preview", "/v1/responses"),
    "Google": ("/v1beta/openai/chat/completions", CHAT),
    "no folder": ("/chat/completions", CHAT),
}


@pytest.mark.parametrize(("path", "kind"), OTHER_PATHS.values(), ids=OTHER_PATHS)
async def test_an_answer_at_a_path_in_another_folder_than_v1_is_stored_and_joined(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    monkeypatch.setitem(ANSWERS, path.partition("?")[0], ANSWERS[kind])
    async with answering() as (provider, gateway):
        field = {"Authorization": "", "Api_Key": "sk-mine", "Idempotency_Key": "one"}
        first = await ask(http, gateway, path, **field)
        assert first[0] == 200
        assert first[1] is not None
        assert await ask(http, gateway, path, **field) == first
        async with http.get(f"{first[1]}/record") as record:
            assert [it.get("outcome") for it in await record.json()][-1] == "complete"
    assert [str(request.rel_url) for request in provider.requests] == [path]


UPGRADES = {
    "of Codex": ("/v1/responses", {"Upgrade": "websocket", "Connection": "Upgrade"}),
    "in capitals": ("/v1/responses", {"Upgrade": "WebSocket", "Connection": "upgrade"}),
    "in a list": ("/v1/models", {"Upgrade": "h2c, websocket", "Connection": "Upgrade"}),
    "behind a proxy that drops it": ("/v1/responses", {"Sec-WebSocket-Key": "x" * 22 + "=="}),
    "of the Realtime API": ("/v1/realtime?model=m", {}),
}


@pytest.mark.parametrize(("path", "fields"), UPGRADES.values(), ids=UPGRADES)
async def test_a_websocket_is_answered_404_and_never_passed_on(
    http: aiohttp.ClientSession, path: str, fields: dict[str, str]
) -> None:
    async with (
        answering() as (provider, gateway),
        http.get(gateway.url + OPENAI + path, headers={**KEY, **fields}) as refused,
    ):
        assert refused.status == 404
        error = (await refused.json())["error"]
        assert "over HTTP" in error["message"]
        assert error["code"] == "websocket_not_offered"
    assert not provider.requests


async def test_any_other_upgrade_is_ignored(http: aiohttp.ClientSession) -> None:
    async with answering() as (provider, gateway):
        fields = {
            "Upgrade": "h2c",
            "Connection": "Upgrade, HTTP2-Settings",
            "HTTP2-Settings": "AAM",
        }
        headers, body = {**KEY, **fields}, {"model": "m", "stream": True}
        async with http.post(gateway.url + OPENAI + CHAT, json=body, headers=headers) as answer:
            assert answer.status == 200
            assert b"[DONE]" in await answer.read()
    assert not {"Upgrade", "HTTP2-Settings"} & {*provider.requests[0].headers}
