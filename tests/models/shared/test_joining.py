"""Answers that one gateway writes and another one follows: joined before, during and after."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from typing import TYPE_CHECKING

import pytest

from headgate.shielding import shielded
from tests.models.answers import ID_LINE, chat_completion, response, without_ids
from tests.models.provider import providing
from tests.models.scripted import ended, scripted
from tests.models.shared.gateways import (
    KEY,
    MESSAGE,
    RESPONSES,
    ask,
    events_from,
    held_gateways,
    message,
    read_to,
    status,
    two_gateways,
)
from tests.support.examples import examples
from tests.support.http1 import Client, request
from tests.support.waiting import until

if TYPE_CHECKING:
    import aiohttp

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")


async def read(http: aiohttp.ClientSession, gateway: Headgate, key: str, **fields: str) -> object:
    async with ask(http, gateway, key, **fields) as answer:
        body: bytes = await answer.read()
        assert answer.status == 200, body
        return message(body)


async def test_a_request_at_another_gateway_joins_while_the_head_is_awaited(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        provider.hold_heads()
        with two_gateways(provider, origin) as (one, other):
            first = asyncio.create_task(read(http, one, "one"))
            await until(lambda: len(provider.requests) == 1)
            second = asyncio.create_task(read(http, other, "one"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(shielded(second), 0.3)
            provider.allow_heads()
            assert await first == await second == MESSAGE
        assert len(provider.requests) == 1


async def test_a_request_at_another_gateway_joins_a_running_answer_from_its_beginning(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one) as answer, ask(http, other) as joined:
            begun = await events_from(answer, 3)
            also_begun = await read_to(joined, begun)
            assert joined.headers["X-Provider-Id"] == "req_7"
            provider.allow(2)
            also_begun += await joined.content.readany()  # while it runs
            provider.allow()
            body: bytes = await answer.read()
            assert message(begun + body) == MESSAGE
            assert message(also_begun + await joined.read()) == MESSAGE
        assert await read(http, other, "one") == await read(http, one, "one") == MESSAGE
    assert len(provider.requests) == 1


async def test_a_reader_of_one_gateway_goes_on_at_another_behind_its_last_event(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one) as answer:
            begun = await events_from(answer, 3)
        last = ID_LINE.findall(begun)[-1].decode()
        async with ask(http, other, Last_Event_ID=last) as rest:
            assert rest.headers["Stream-Next-Offset"] == last
            provider.allow()
            assert message(begun + await rest.read()) == MESSAGE
    assert len(provider.requests) == 1


async def test_the_last_event_id_minus_one_is_the_beginning_of_an_answer(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        with two_gateways(provider, origin) as (one, _other):
            for key in ("one", "two"):
                for _ in range(2):  # a new answer, and one that is stored
                    async with ask(http, one, key, Last_Event_ID="-1") as answer:
                        assert (answer.status, message(await answer.read())) == (200, MESSAGE)
        assert len(provider.requests) == 2


async def test_a_key_that_arrives_at_two_gateways_at_once_is_one_request_to_the_provider(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        with two_gateways(provider, origin) as (one, other):
            for number in range(examples(50)):
                before = len(provider.requests)
                key = f"key-{number}"
                bodies = await asyncio.gather(
                    *(read(http, gateway, key) for gateway in (one, other, one, other))
                )
                assert bodies == [MESSAGE] * 4
                assert len(provider.requests) == before + 1


async def test_those_who_wait_at_another_gateway_send_a_refused_request_again(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        provider.statuses = [429]
        provider.hold_heads()
        with two_gateways(provider, origin) as (one, other):
            first = asyncio.create_task(status(http, one))
            await until(lambda: len(provider.requests) == 1)
            second = asyncio.create_task(status(http, other))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(shielded(second), 0.3)
            provider.allow_heads()
            assert (await first)[0] == 429
            code, body = await second
            assert code == 502
            assert b"send the request again" in body
            assert len(provider.requests) == 1
            assert await read(http, other, "one") == MESSAGE  # which calls the provider again
        assert len(provider.requests) == 2


async def test_a_provider_that_breaks_off_before_its_head_is_the_same_error_at_each_gateway(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        provider.breaks_before_head = True
        with two_gateways(provider, origin) as (one, other):
            found = await asyncio.gather(status(http, one), status(http, other))
            assert [code for code, _ in found] == [502, 502]


async def test_a_response_is_retrieved_by_its_id_at_another_gateway_while_it_runs_and_later(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async def retrieved() -> bytes:
        query = {"stream": "true", "starting_after": "1"}
        url = f"{other.url}{RESPONSES}/resp_1"
        async with http.get(url, params=query, headers=KEY) as answer:
            assert answer.status == 200
            return without_ids(await answer.read())

    events = response()
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one, path=RESPONSES) as answer:
            await events_from(answer, 3)
            async with http.get(f"{other.url}{RESPONSES}/resp_1", headers=KEY) as now:
                assert (await now.json())["status"] == "in_progress"
            running = asyncio.create_task(retrieved())
            await asyncio.sleep(0)
            provider.allow()
            assert await running == b"".join(events[2:])
        assert await retrieved() == b"".join(events[2:])
        async with http.get(f"{other.url}{RESPONSES}/resp_1", headers=KEY) as now:
            assert (await now.json())["status"] == "completed"
    assert len(provider.requests) == 1


async def test_answers_of_one_chat_are_written_one_at_a_time_by_all_gateways(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        with two_gateways(provider, origin) as (one, other):
            chat = {"Headgate_Stream": "chat-1"}
            assert await read(http, one, "a", **chat) == MESSAGE
            provider.hold()
            provider.allow(3)
            async with ask(http, other, "b", **chat) as second:
                await events_from(second, 3)
                async with ask(http, one, "c", **chat) as busy:
                    assert busy.status == 409
                    assert (await busy.json())["code"] == "stream_busy"
                async with ask(http, one, "b", **chat) as joined:
                    provider.allow()
                    assert message(await joined.read()) == MESSAGE
            assert await read(http, one, "c", **chat) == MESSAGE
            assert await read(http, other, "a", **chat) == MESSAGE
        assert len(provider.requests) == 3


async def test_a_chat_that_two_gateways_begin_at_once_has_each_answer_once(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        with two_gateways(provider, origin) as (one, other):
            for number in range(examples(50)):
                before = len(provider.requests)
                chat = {"Headgate_Stream": f"chat-{number}"}
                answers = await asyncio.gather(
                    *(read(http, gateway, "a", **chat) for gateway in (one, other, one, other))
                )
                assert answers == [MESSAGE] * 4
                assert len(provider.requests) == before + 1


async def test_an_event_id_of_another_answer_is_refused_at_another_gateway(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with held_gateways(origin) as (_provider, one, other), ask(http, one) as answer:
        await events_from(answer, 3)
        beyond = "0000000000000001_0000000000000003", "0000000000000000_9999999999999999"
        for last in beyond:
            async with ask(http, other, Last_Event_ID=last) as refused:
                assert refused.status == 410
        async with ask(http, other, Last_Event_ID="none") as refused:
            assert refused.status == 400


@pytest.mark.parametrize("chat", [{}, {"Headgate_Stream": "chat"}], ids=["alone", "in-a-chat"])
@pytest.mark.parametrize("allowed", [4, len(response()) - 3], ids=["running", "over"])
async def test_a_gateway_that_stood_still_takes_the_events_that_clients_got_at_another(
    http: aiohttp.ClientSession, origin: str, chat: dict[str, str], allowed: int
) -> None:
    events, number = response(), 3 + allowed - 1  # what clients have then: all but the last one
    body = json.dumps({"model": "m", "stream": True}).encode()
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one, path=RESPONSES, **chat) as answer:
            begun = await events_from(answer, 3)
            async with ask(http, other, path=RESPONSES, **chat) as joined:
                await read_to(joined, begun)
            assert other.process is not None
            other.process.send_signal(signal.SIGSTOP)
            provider.allow(allowed)
            begun += await events_from(answer, allowed)
            if number + 1 == len(events):
                await answer.read()  # its end is recorded
        last = ID_LINE.findall(begun)[number - 1].decode()
        fields = {**KEY, **chat, "Idempotency_Key": "one", "Last_Event_ID": last}
        by_id = f"{RESPONSES}/resp_1"
        asked = [
            request("POST", RESPONSES, body, Content_Type="application/json", **fields),
            request("GET", f"{by_id}?stream=true&starting_after={number - 1}", None, **KEY),
            request("GET", by_id, None, **KEY),
        ]
        with contextlib.ExitStack() as stack:
            clients = [await Client.connect(other.port) for _ in asked]
            for client, data in zip(clients, asked, strict=True):
                stack.callback(client.close)
                await client.send_all(data)
            other.process.send_signal(signal.SIGCONT)
            heads = [await client.head() for client in clients]
            assert [head.status for head in heads] == [200, 200, 200]
            status = (await clients[2].whole(heads[2])).json()["status"]
            assert status == ("completed" if number + 1 == len(events) else "in_progress")
            provider.allow()
            for client in clients[:2]:
                assert without_ids(b"".join(await client.chunks())) == b"".join(events[number:])


async def test_a_gateway_that_starts_leaves_the_answers_that_another_one_writes(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with held_gateways(origin) as (provider, one, other), ask(http, one) as answer:
        begun = await events_from(answer, 3)
        other.kill()
        other.start()
        async with ask(http, other) as joined:
            begun_there = await read_to(joined, begun)
            provider.allow()
            assert message(begun_there + await joined.read()) == MESSAGE
        assert message(begun + await answer.read()) == MESSAGE


async def test_a_key_is_free_at_every_gateway_after_an_answer_without_its_end(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async def has_end() -> bool:
        async with http.get(f"{url}/record", params={"offset": "-1"}) as record:
            return b'"entry":"end"' in await record.read()

    whole = b"".join(chat_completion())
    async with scripted(ended(b"".join(chat_completion()[:3]))) as provider:
        with two_gateways(provider, origin) as (one, other):
            async with ask(http, one) as answer:
                assert b"without the last event" in await answer.read()
                url = answer.headers["Stream-URL"]
            await until(has_end)
            provider.response = ended(whole)
            for gateway in (other, one):
                assert await read(http, gateway, "one") == message(whole)
            async with http.get(url, params={"offset": "-1"}) as stored:
                assert await stored.read() == whole
        assert provider.calls == 2
