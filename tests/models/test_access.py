"""Who may call a provider: a token as the SDK's `api_key`, or beside a provider's key."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import anthropic
import openai
import pytest

from headgate_gateway.settings.loading import SettingsError, load
from tests.models.answers import chat_completion, without_ids
from tests.models.provider import providing
from tests.models.serving import ANTHROPIC, OPENAI, STREAMS, gateway_before
from tests.models.tokens import TOKENS, guarded, tokens_file
from tests.support.given_settings import variables
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")


async def test_a_token_as_api_key_calls_with_the_key_of_the_house(tmp_path: Path) -> None:
    async with providing() as provider:
        settings, environment = guarded(tmp_path, has_key=True), tokens_file(tmp_path)
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            async with openai.AsyncOpenAI(
                base_url=f"{gateway.url}{OPENAI}/v1", api_key=TOKENS["caller"], max_retries=0
            ) as client:
                stream = await client.responses.create(model="m", input="Hi", stream=True)
                assert [event async for event in stream]
            async with anthropic.AsyncAnthropic(
                base_url=f"{gateway.url}{ANTHROPIC}", api_key=TOKENS["caller"], max_retries=0
            ) as client:
                message = client.messages
                events = await message.create(
                    model="m",
                    max_tokens=9,
                    messages=[{"role": "user", "content": "Hi"}],
                    stream=True,
                )
                assert [event async for event in events]
        first, second = provider.requests
        assert first.headers["Authorization"] == "Bearer sk-of-the-house"
        assert second.headers["X-Api-Key"] == "sk-of-the-house"
        sent = json.dumps([*first.headers.items(), *second.headers.items()])
        assert TOKENS["caller"] not in sent


@pytest.mark.parametrize(("name", "base"), [("Api-Key", OPENAI), ("X-Api-Key", ANTHROPIC)])
async def test_an_answer_is_its_own_for_each_of_the_keys_that_a_request_sends(
    name: str, base: str
) -> None:
    path = {OPENAI: "/v1/chat/completions", ANTHROPIC: "/v1/messages"}[base]
    async with providing() as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider) as gateway:
            urls = []
            for key in ("alice", "mallory", "alice"):
                sent = {"Authorization": "Bearer both", name: key, "Idempotency-Key": "1"}
                body = {"model": "m", "stream": True}
                async with http.post(f"{gateway.url}{base}{path}", json=body, headers=sent) as one:
                    urls.append(one.headers["Stream-URL"])
        assert urls[0] == urls[2] != urls[1]


@pytest.mark.parametrize(
    ("token", "status"), [("wrong", 401), (TOKENS["reader"], 403)], ids=["unknown", "of a reader"]
)
async def test_a_token_that_may_not_append_calls_nobody(
    tmp_path: Path, token: str, status: int
) -> None:
    async with providing() as provider:
        settings, environment = guarded(tmp_path, has_key=True), tokens_file(tmp_path)
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            async with openai.AsyncOpenAI(
                base_url=f"{gateway.url}{OPENAI}/v1", api_key=token, max_retries=0
            ) as client:
                with pytest.raises(openai.APIStatusError) as refusal:
                    await client.responses.create(model="m", input="Hi", stream=True)
        assert refusal.value.status_code == status
        assert not provider.requests


async def test_a_caller_with_a_provider_s_key_sends_the_token_beside_it(tmp_path: Path) -> None:
    async with providing() as provider:
        settings, environment = guarded(tmp_path, has_key=False), tokens_file(tmp_path)
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            async with openai.AsyncOpenAI(
                base_url=f"{gateway.url}{OPENAI}/v1",
                api_key="sk-mine",
                max_retries=0,
                default_headers={"Headgate-Token": TOKENS["caller"]},
            ) as client:
                stream = await client.responses.create(model="m", input="Hi", stream=True)
                assert [event async for event in stream]
            async with openai.AsyncOpenAI(
                base_url=f"{gateway.url}{OPENAI}/v1", api_key=TOKENS["caller"], max_retries=0
            ) as client:
                with pytest.raises(openai.AuthenticationError, match="send it in Headgate-Token"):
                    await client.responses.create(model="m", input="Hi", stream=True)
        (sent,) = provider.requests
        assert sent.headers["Authorization"] == "Bearer sk-mine"
        assert "Headgate-Token" not in sent.headers


async def test_a_caller_without_a_token_is_told_to_send_it_as_api_key(tmp_path: Path) -> None:
    async with providing() as provider, aiohttp.ClientSession() as http:
        settings, environment = guarded(tmp_path, has_key=True), tokens_file(tmp_path)
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            url = f"{gateway.url}{OPENAI}/v1/responses"
            async with http.post(url, json={"stream": True}) as answer:
                assert answer.status == 401
                assert "send it as api_key" in (await answer.json())["error"]["message"]


async def test_a_reload_leaves_a_running_answer_as_it_is(tmp_path: Path) -> None:
    async with providing() as provider:
        provider.hold()
        config = tmp_path / "headgate.toml"
        config.write_text("live.long_poll_timeout = 5\n")
        with gateway_before(provider, config=config) as gateway:
            provider.allow(2)
            async with aiohttp.ClientSession() as http:
                request: dict[str, Any] = {
                    "json": {"stream": True},
                    "headers": {"Authorization": "Bearer sk", "Idempotency-Key": "one"},
                }
                url = f"{gateway.url}{OPENAI}/v1/chat/completions"
                async with http.post(url, **request) as answer:
                    await answer.content.readany()
                    config.write_text("live.long_poll_timeout = 6\n")
                    assert gateway.process is not None
                    gateway.process.send_signal(signal.SIGHUP)
                    await until(lambda: "server.reloaded" in gateway.output())
                    async with http.post(url, **request) as joined:
                        provider.allow()
                        body = await joined.read()
                    assert without_ids(await answer.read()).endswith(chat_completion()[-1])
                assert without_ids(body).endswith(chat_completion()[-1])
        assert len(provider.requests) == 1


MISTAKES = {
    "a prefix of a route": (
        {"prefix": "/v1/stream"},
        "must not be the prefix of one",
    ),
    "streams on no route": ({"streams": "/v2"}, "must be the prefix of one of the routes"),
    "an upstream with /v1": ({"upstream": "https://a.example/v1"}, "must end before /v1"),
    "a log as upstream": ({"upstream": "memory:"}, "must be http"),
    "an upstream without a scheme": (
        {"upstream": "api.openai.com"},
        "must be http(s)://HOST[:PORT][/PATH] or a list of such URLs.",
    ),
    "an upstream of two, one without a host": (
        {"upstream": ["https://a.example", "https://"]},
        "must be http(s)://HOST[:PORT][/PATH] or a list of such URLs.",
    ),
    "a key file that is missing": (
        {"key_file": "/nowhere/key"},
        "must be a file that can be read: No such file or directory",
    ),
    "a key file with no key": (
        {"key_file": "/dev/null"},
        "must be a file with the provider's key on one line",
    ),
}


@pytest.mark.parametrize(("settings", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_settings_is_named_at_the_start(
    settings: dict[str, object], sentence: str
) -> None:
    common = {"prefix": OPENAI, "dialect": "openai", "upstream": "http://127.0.0.1:9"}
    table = [{**common, "streams": STREAMS, **settings}]
    with pytest.raises(SettingsError, match=re.escape(sentence)):
        load(None, variables({"models": table}), {"storage": "memory:"}, look_at_files=True)
