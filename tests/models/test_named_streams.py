"""One stream for the answers of a chat: named by the caller, continued, joined, and refused."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.models.accumulators import chat_message, data_of
from tests.models.answers import ID_LINE, chat_completion, response, without_ids
from tests.models.serving import OPENAI, STREAMS, answering
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

WHOLE = b"".join(chat_completion())
MESSAGE = chat_message(data_of(WHOLE))
PARTING = (
    b"event: headgate.end\n"
    b'data: {"outcome":"complete","usage":{"input_tokens":9,"output_tokens":12},"reason":null}\n\n'
)


def ask(
    http: aiohttp.ClientSession, gateway: Headgate, question: str, query: str = "", **fields: str
) -> Any:
    """Send a request for the next answer in the stream `talk`."""
    own = {name.replace("_", "-"): value for name, value in fields.items()}
    headers = {"Authorization": "Bearer sk-mine", "Headgate-Stream": "talk", **own}
    headers = {name: value for name, value in headers.items() if value}
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": question}]}
    url = f"{gateway.url}{OPENAI}/v1/chat/completions{query}"
    return http.post(url, json=body, headers=headers)


def stream_of(gateway: Headgate, name: str = "talk") -> str:
    return f"{gateway.url}{STREAMS}/chats/{name}"


async def read_of(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.get(url, params={"offset": "-1"}) as read:
        assert read.status == 200
        assert "Stream-Closed" not in read.headers
        return await read.read()


async def test_answers_follow_each_other_in_one_open_stream_and_each_client_gets_its_own(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (_provider, gateway):
        starts = []
        for question in ("one", "two", "three"):
            async with ask(http, gateway, question) as answer:
                assert without_ids(await answer.read()) == WHOLE
                assert answer.headers["Stream-URL"] == stream_of(gateway)
                starts.append(answer.headers["Stream-Next-Offset"])
        assert await read_of(http, stream_of(gateway)) == (WHOLE + PARTING) * 3
        async with http.get(stream_of(gateway), params={"offset": starts[2]}) as read:
            assert await read.read() == WHOLE + PARTING
        async with http.get(f"{stream_of(gateway)}/record") as record:
            entries = await record.json()
    assert [entry["entry"] for entry in entries] == ["request", "response", "end"] * 3
    length = len(WHOLE + PARTING)
    assert [entry.get("position", 0) for entry in entries[::3]] == [0, length, 2 * length]


async def test_a_key_joins_the_answer_that_it_began_and_no_other(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        starts = []
        for question in ("one", "two", "one", "two"):
            async with ask(http, gateway, question, Idempotency_Key=question) as answer:
                assert chat_message(data_of(await answer.read())) == MESSAGE
                starts.append(answer.headers["Stream-Next-Offset"])
        assert starts[:2] == starts[2:]
        async with ask(http, gateway, "three", Idempotency_Key="one") as refused:
            assert refused.status == 422
    assert len(provider.requests) == 2


async def test_a_running_answer_is_joined_at_its_start_and_others_have_to_wait(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        async with ask(http, gateway, "one", Idempotency_Key="one") as answer:
            await answer.read()
        provider.hold()
        provider.allow(2)
        async with ask(http, gateway, "two", Idempotency_Key="two") as running:
            assert await running.content.readany()
            for fields in ({}, {"Idempotency_Key": "three"}):
                async with ask(http, gateway, "three", **fields) as refused:
                    assert refused.status == 409
                    assert (await refused.json())["code"] == "stream_busy"
            async with ask(http, gateway, "one", Idempotency_Key="one") as earlier:
                assert chat_message(data_of(await earlier.read())) == MESSAGE
            async with ask(http, gateway, "two", Idempotency_Key="two") as joined:
                provider.allow()
                assert chat_message(data_of(await joined.read())) == MESSAGE
    assert len(provider.requests) == 2


async def test_a_request_sent_after_the_last_event_waits_for_the_end_of_the_answer_before(
    http: aiohttp.ClientSession,
) -> None:
    async def next_answer() -> tuple[int, bytes]:
        async with ask(http, gateway, "two") as answer:
            return answer.status, without_ids(await answer.read())

    async with answering() as (provider, gateway):
        provider.lingers = asyncio.Event()
        async with ask(http, gateway, "one") as first:
            await first.content.readuntil(b"data: [DONE]\n")
            following = asyncio.create_task(next_answer())
            await asyncio.sleep(0)
            provider.lingers.set()
            assert await following == (200, WHOLE)
        assert await read_of(http, stream_of(gateway)) == (WHOLE + PARTING) * 2


async def test_a_reader_resumes_its_own_answer_at_any_event_and_at_no_event_of_another(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (_provider, gateway):
        bodies = []
        for question in ("one", "two"):
            async with ask(http, gateway, question, Idempotency_Key=question) as answer:
                bodies.append(await answer.read())
        for found in ID_LINE.finditer(bodies[1]):
            last = found[1].decode()
            async with ask(
                http, gateway, "two", Idempotency_Key="two", Last_Event_ID=last
            ) as answer:
                rest = await answer.read()
            begun = bodies[1][: len(bodies[1]) - len(rest)]
            assert begun.endswith(b"\n\n")
            assert ID_LINE.findall(begun)[-1] == found[1]
            assert bodies[1] == begun + rest
        foreign = ID_LINE.findall(bodies[0])[1].decode()
        async with ask(
            http, gateway, "two", Idempotency_Key="two", Last_Event_ID=foreign
        ) as refused:
            assert refused.status == 410


async def test_a_hostile_name_is_refused_and_nobody_is_called(
    http: aiohttp.ClientSession,
) -> None:
    quoted = {"%": "%", "#": "%23", "\t": "%09", " ": "%20"}
    names = ("", "..", ".", "a/b", "a%2Fb", "record", "-", "a b", "a\tb", "é", "a" * 129)
    async with answering() as (provider, gateway):
        for name in (*names, "a?b", "a#b"):
            query = "?headgate-stream=" + "".join(quoted.get(it, it) for it in name)
            async with ask(http, gateway, "one", query, Headgate_Stream="") as refused:
                assert refused.status == 400, name
    assert provider.requests == []


async def test_the_longest_name_is_taken_by_header_or_query_and_is_not_passed_on(
    http: aiohttp.ClientSession,
) -> None:
    name = "a" * 128
    async with answering() as (provider, gateway):
        ways = ("?a=1", name), (f"?a=1&headgate-stream={name}", "")
        for query, field in ways:
            async with ask(http, gateway, "one", query, Headgate_Stream=field) as answer:
                await answer.read()
                assert answer.headers["Stream-URL"] == stream_of(gateway, name)
        async with ask(http, gateway, "one", f"?headgate-stream={name}") as refused:
            assert refused.status == 400
    assert [request.path_qs for request in provider.requests] == [
        "/v1/chat/completions?a=1",
        "/v1/chat/completions?a=1",
    ]
    assert all("Headgate-Stream" not in request.headers for request in provider.requests)


async def test_the_stream_of_another_owner_and_of_nobody_is_refused(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        async with ask(http, gateway, "one") as answer:
            await answer.read()
        async with ask(http, gateway, "one", Authorization="Bearer sk-other") as refused:
            assert refused.status == 403
        async with ask(http, gateway, "one", Authorization="") as refused:
            assert refused.status == 400
        foreign = stream_of(gateway, "foreign")
        made = {"Content-Type": "text/event-stream", "Stream-TTL": "86400"}
        async with http.put(foreign, data=b"data: mine\n\n", headers=made) as created:
            assert created.status == 201
        async with ask(http, gateway, "one", Headgate_Stream="foreign") as refused:
            assert refused.status == 403
        assert await read_of(http, foreign) == b"data: mine\n\n"
    assert len(provider.requests) == 1


async def test_a_refusal_of_the_provider_leaves_the_stream_as_it_was(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        for earlier in (0, 1):
            provider.statuses = [429]
            async with ask(http, gateway, "next", Idempotency_Key="next") as refused:
                assert refused.status == 429
            if earlier:
                assert await read_of(http, stream_of(gateway)) == WHOLE + PARTING
            else:
                async with http.get(stream_of(gateway)) as read:
                    assert read.status == 404
            async with ask(http, gateway, "one", Idempotency_Key=str(earlier)) as answer:
                assert without_ids(await answer.read()) == WHOLE
        assert await read_of(http, stream_of(gateway)) == (WHOLE + PARTING) * 2


async def test_an_answer_of_a_killed_gateway_ends_with_a_reason_and_the_chat_goes_on(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with answering(tmp_path) as (provider, gateway):
        async with ask(http, gateway, "one") as answer:
            await answer.read()
        provider.hold()
        provider.allow(2)
        async with ask(http, gateway, "two", Idempotency_Key="two") as answer:
            begun = await answer.content.readany()
            gateway.kill()
        gateway.start()
        async with ask(http, gateway, "two", Idempotency_Key="two") as answer:
            ended = await answer.read()
        assert ended.startswith(begun)
        assert b"the gateway stopped in the middle" in ended
        provider.allow()
        async with ask(http, gateway, "three") as answer:
            assert without_ids(await answer.read()) == WHOLE
        stored = await read_of(http, stream_of(gateway))
        assert stored.startswith(WHOLE + PARTING + without_ids(ended) + b"event: headgate.end")
        assert stored.endswith(WHOLE + PARTING)
    assert len(provider.requests) == 3


async def test_an_answer_that_was_parted_before_its_end_was_recorded_stays_as_it_is(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with answering(tmp_path) as (provider, gateway):
        async with ask(http, gateway, "one", Idempotency_Key="one") as answer:
            await answer.read()
        record = f"{stream_of(gateway)}/record"
        async with http.get(record) as read:
            entries = await read.json()
        async with http.delete(record) as deleted:  # as if the end had not been written
            assert deleted.status == 204
        made = {"Content-Type": "application/json", "Stream-TTL": "86400"}
        body = json.dumps(entries[:2]).encode()
        async with http.put(record, data=body, headers=made) as created:
            assert created.status == 201
        async with ask(http, gateway, "one", Idempotency_Key="one") as answer:
            assert chat_message(data_of(await answer.read())) == MESSAGE
        assert await read_of(http, stream_of(gateway)) == WHOLE + PARTING
        async with http.get(record) as read:
            end = (await read.json())[-1]
        assert {**end, "ended_at": 0} == {**entries[2], "ended_at": 0}
    assert len(provider.requests) == 1


async def test_deleting_the_stream_stops_its_answer_and_frees_the_name(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.allow(2)
        async with ask(http, gateway, "one", Idempotency_Key="one") as answer:
            await answer.content.readany()
            async with http.delete(answer.headers["Stream-URL"]) as deleted:
                assert deleted.status == 204
            await until(lambda: provider.left == 1)
        provider.allow()
        other = {"Authorization": "Bearer sk-other"}
        async with ask(http, gateway, "one", Idempotency_Key="one", **other) as answer:
            assert without_ids(await answer.read()) == WHOLE


async def test_a_response_in_a_named_stream_is_retrieved_and_cancelled_by_its_id(
    http: aiohttp.ClientSession,
) -> None:
    last = len(response()) - 1
    async with answering() as (provider, gateway):
        client = openai.AsyncOpenAI(
            base_url=f"{gateway.url}{OPENAI}/v1",
            api_key="sk-mine",
            max_retries=0,
            default_headers={"Headgate-Stream": "talk"},
        )
        async with client:
            for _ in range(2):
                stream = await client.responses.create(model="m", input="Hi", stream=True)
                assert [event.sequence_number async for event in stream][-1] == last
            events = await client.responses.retrieve("resp_1", stream=True, starting_after=3)
            numbers = [event.sequence_number async for event in events]
            assert numbers == list(range(4, last + 1))
            with pytest.raises(openai.APIStatusError) as refusal:
                await client.responses.delete("resp_1")
            assert refusal.value.status_code == 405
            provider.hold()
            provider.allow(3)
            stream = await client.responses.create(model="m", input="Hi", stream=True)
            await anext(stream)
            assert (await client.responses.cancel("resp_1")).status == "cancelled"
            await until(lambda: provider.left == 1)
        stored = await read_of(http, stream_of(gateway))
        assert stored.count(b"event: headgate.end") == 3
        assert b'"outcome":"aborted"' in stored


async def test_a_stream_has_as_many_answers_as_it_may_and_no_more(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (_provider, gateway):
        async with ask(http, gateway, "one") as answer:
            await answer.read()
        record = f"{stream_of(gateway)}/record"
        async with http.get(record) as read:
            request, _, end = await read.json()
        async with http.post(record, json=[request, end] * 998) as appended:
            assert appended.status == 204
        async with ask(http, gateway, "the thousandth") as answer:
            assert without_ids(await answer.read()) == WHOLE
        async with ask(http, gateway, "one more") as refused:
            assert refused.status == 409
            assert "1000 answers" in json.dumps(await refused.json())
