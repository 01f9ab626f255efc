"""Responses retrieved and cancelled by their ids, by OpenAI's SDK, from the log of the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.models.answers import response
from tests.models.serving import OPENAI, answering

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

ID = "resp_1"  # of the provider's response
LAST = len(response()) - 1


def client_of(gateway: Headgate, key: str = "sk-mine") -> openai.AsyncOpenAI:
    base = f"{gateway.url}{OPENAI}/v1"
    return openai.AsyncOpenAI(base_url=base, api_key=key, max_retries=0)


async def begin(client: openai.AsyncOpenAI, **options: Any) -> Any:
    """Return the stream of a new response."""
    return await client.responses.create(model="gpt-4o", input="Hi", stream=True, **options)


async def numbers(stream: Any) -> list[int]:
    return [event.sequence_number async for event in stream]


async def test_a_response_is_streamed_from_behind_the_event_with_a_number() -> None:
    async with answering() as (provider, gateway), client_of(gateway) as client:
        whole = [event.model_dump() async for event in await begin(client)]
        for after in (0, 5, LAST - 1, LAST):
            stream = await client.responses.retrieve(ID, stream=True, starting_after=after)
            assert [event.model_dump() async for event in stream] == whole[after + 1 :]
        stream = await client.responses.retrieve(ID, stream=True)
        found = [event.model_dump() async for event in stream]
        assert found == whole
    assert len(provider.requests) == 1


async def test_a_running_response_is_followed_by_its_id_to_its_end() -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.allow(3)
        async with client_of(gateway) as client:
            first = await begin(client)
            assert [(await anext(first)).sequence_number for _ in range(3)] == [0, 1, 2]
            await first.close()
            stream = await client.responses.retrieve(ID, stream=True, starting_after=2)
            provider.allow()
            assert await numbers(stream) == list(range(3, LAST + 1))
    assert len(provider.requests) == 1


async def test_a_number_that_no_event_has_is_refused() -> None:
    async with answering() as (_provider, gateway), client_of(gateway) as client:
        await numbers(await begin(client))
        for after in ("99", "-1", "x", "1&starting_after=2", "9" * 13):
            path = f"/responses/{ID}?stream=true&starting_after={after}"
            with pytest.raises(openai.BadRequestError) as refusal:
                await client.get(path, cast_to=object)
            assert "starting_after" in refusal.value.response.json()["detail"]


async def test_a_complete_response_is_retrieved_whole_also_after_a_restart(tmp_path: Path) -> None:
    async with answering(tmp_path) as (provider, gateway), client_of(gateway) as client:
        events = [event async for event in await begin(client)]
        assert await client.responses.retrieve(ID) == events[-1].response
        gateway.terminate()
        gateway.start()
        assert await client.responses.retrieve(ID) == events[-1].response
    assert len(provider.requests) == 1


async def test_cancelling_a_response_stops_the_call_and_ends_the_streams_of_its_readers() -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.allow(5)
        async with client_of(gateway) as client:
            stream = await begin(client)
            for _ in range(5):
                await anext(stream)
            assert (await client.responses.retrieve(ID)).status == "in_progress"
            cancelled = await client.responses.cancel(ID)
            assert (cancelled.id, cancelled.status) == (ID, "cancelled")
            await asyncio.wait_for(provider.has_left.wait(), 20)
            with pytest.raises(openai.APIError, match="was cancelled"):
                await anext(stream)
            for again in (client.responses.cancel(ID), client.responses.retrieve(ID)):
                assert await again == cancelled
    assert len(provider.requests) == 1


async def test_cancelling_a_complete_response_changes_nothing() -> None:
    async with answering() as (_provider, gateway), client_of(gateway) as client:
        events = [event async for event in await begin(client)]
        assert await client.responses.cancel(ID) == events[-1].response
        assert await client.responses.retrieve(ID) == events[-1].response


async def test_a_response_in_the_background_is_cancelled_at_its_provider_as_well() -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.allow(1)
        async with client_of(gateway) as client:
            stream = await begin(client, background=True)
            await anext(stream)
            assert (await client.responses.cancel(ID)).id == "of the provider"
            await asyncio.wait_for(provider.has_left.wait(), 20)
    assert provider.requests[1].path == f"/v1/responses/{ID}/cancel"


async def test_a_response_whose_provider_broke_off_is_retrieved_as_failed() -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.cuts_after = 3
        provider.allow(3)
        async with client_of(gateway) as client:
            begun = await begin(client)
            for _ in range(3):
                await anext(begun)
            provider.allow()
            with pytest.raises(openai.APIError, match="broke off"):
                await anext(begun)
            failed = await client.responses.retrieve(ID)
            assert failed.status == "failed"
            assert failed.error is not None
            assert "broke off" in failed.error.message
            stream = await client.responses.retrieve(ID, stream=True, starting_after=2)
            with pytest.raises(openai.APIError, match="broke off"):
                await numbers(stream)


async def test_another_owner_s_response_is_asked_of_the_provider() -> None:
    async with (
        answering() as (provider, gateway),
        client_of(gateway) as client,
        client_of(gateway, "sk-other") as stranger,
    ):
        await numbers(await begin(client))
        await stranger.responses.retrieve(ID)
        await stranger.responses.cancel(ID)
        assert (await client.responses.retrieve(ID)).status == "completed"
    sent = [request.headers["Authorization"] for request in provider.requests]
    assert sent == ["Bearer sk-mine", "Bearer sk-other", "Bearer sk-other"]


async def test_a_deleted_response_is_deleted_here_and_at_the_provider() -> None:
    async with answering() as (provider, gateway), client_of(gateway) as client:
        await numbers(await begin(client))
        await client.responses.delete(ID)
        await client.responses.retrieve(ID)
        methods = [request.method for request in provider.requests]
        assert methods == ["POST", "DELETE", "GET"]
        stream = await begin(client, extra_headers={"Idempotency-Key": "one"})
        assert len(await numbers(stream)) == LAST + 1
