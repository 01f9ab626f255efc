"""The SDKs of OpenAI and Anthropic as they are, which change `base_url` and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import anthropic
import openai
import pytest

from tests.models.serving import ANTHROPIC, OPENAI, answering
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

QUESTION: Any = [{"role": "user", "content": "How is the weather?"}]


def openai_at(base: str, max_retries: int = 0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="sk-mine", max_retries=max_retries)


def anthropic_at(base: str, max_retries: int = 0) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=base, api_key="sk-ant-mine", max_retries=max_retries)


async def chat_completion(
    url: str, prefix: str, *, max_retries: int = 0, **options: Any
) -> list[Any]:
    async with openai_at(url + prefix, max_retries) as client:
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=QUESTION, stream=True, **options
        )
        return [chunk.model_dump(exclude_unset=True) async for chunk in stream]


async def response(url: str, prefix: str, *, max_retries: int = 0, **options: Any) -> list[Any]:
    async with openai_at(url + prefix, max_retries) as client:
        stream = await client.responses.create(model="gpt-4o", input="Hi", stream=True, **options)
        return [event.model_dump(exclude_unset=True) async for event in stream]


async def message(url: str, prefix: str, *, max_retries: int = 0, **options: Any) -> list[Any]:
    async with anthropic_at(url + prefix, max_retries) as client:
        stream = await client.messages.create(
            model="claude-opus-4-8", max_tokens=100, messages=QUESTION, stream=True, **options
        )
        return [event.model_dump(exclude_unset=True) async for event in stream]


CALLS = {
    "chat completion": (chat_completion, OPENAI),
    "response": (response, OPENAI),
    "message": (message, ANTHROPIC),
}


@pytest.mark.parametrize(("fields", "requests"), [({}, 2), ({"Idempotency-Key": "one"}, 1)])
@pytest.mark.parametrize(("call", "prefix"), CALLS.values(), ids=CALLS)
async def test_a_retry_of_an_sdk_joins_the_answer_only_by_a_key_that_it_was_given(
    call: Callable[..., Any], prefix: str, fields: dict[str, str], requests: int
) -> None:
    async with answering() as (provider, gateway):
        provider.hold_heads()
        options = {"extra_headers": fields, "timeout": 3.0}
        asking = asyncio.create_task(call(gateway.url, prefix, max_retries=1, **options))
        if fields:
            await until(lambda: _has_joined(gateway, prefix))
        await until(lambda: len(provider.requests) == requests)
        provider.allow_heads()
        assert len(await asking) > 5
    assert len(provider.requests) == requests
    sent = [request.headers.get("Idempotency-Key") for request in provider.requests]
    assert {*sent} == {fields.get("Idempotency-Key")}


async def _has_joined(gateway: Headgate, prefix: str) -> bool:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{gateway.admin_url}/metrics") as metrics,
    ):
        line = f'headgate_model_answers_joined_total{{route="{prefix}"}} 1'
        return line in await metrics.text()


ERRORS = {
    "chat completion": (chat_completion, OPENAI, openai.APIError),
    "response": (response, OPENAI, openai.APIError),
    "message": (message, ANTHROPIC, anthropic.APIStatusError),
}


@pytest.mark.parametrize(("call", "prefix", "error"), ERRORS.values(), ids=ERRORS)
async def test_a_refusal_of_the_gateway_has_its_sentence_where_the_sdk_shows_it(
    call: Callable[..., Any], prefix: str, error: type[Any]
) -> None:
    async with answering() as (_provider, gateway):
        key = {"Idempotency-Key": "one"}
        await call(gateway.url, prefix, extra_headers=key)
        with pytest.raises(error, match="send a new key with a new request") as refusal:
            await call(gateway.url, prefix, extra_headers=key, extra_query={"other": "1"})
        assert refusal.value.status_code == 422
        shown = refusal.value.body.get("error", refusal.value.body)
        assert shown["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_a_refusal_of_the_provider_comes_as_it_is_and_is_not_stored(status: int) -> None:
    async with answering() as (provider, gateway):
        provider.statuses = [status]
        key = {"Idempotency-Key": "one"}
        with pytest.raises(openai.APIStatusError, match="try later") as refusal:
            await chat_completion(gateway.url, OPENAI, extra_headers=key)
        assert refusal.value.status_code == status
        assert len(await chat_completion(gateway.url, OPENAI, extra_headers=key)) > 10
