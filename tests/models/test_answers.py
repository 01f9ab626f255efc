"""Answers through a gateway in a process of its own: joined, resumed, stopped, and ended."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.errors import ClientLimitReached, LimitReached
from headgate_gateway.features.models.places import MOST_ACCEPTED, CompletionPlaces, TakenPlace
from tests.models.accumulators import chat_message, data_of
from tests.models.answers import ID_LINE, chat_completion, without_ids
from tests.models.provider import providing
from tests.models.scripted import ended, scripted
from tests.models.serving import OPENAI, answering, gateway_before
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.support.processes import Headgate

PATH = f"{OPENAI}/v1/chat/completions"
KEY = {"Authorization": "Bearer sk-mine"}
WHOLE = b"".join(chat_completion())


def message(body: bytes = WHOLE) -> Any:
    """Return what an SDK makes of an answer."""
    return chat_message(data_of(body))


def ask(http: aiohttp.ClientSession, gateway: Headgate, body: object = None, **fields: str) -> Any:
    """Send a request for a streaming answer; `Idempotency_Key` is written with a hyphen."""
    headers = {**KEY, **{name.replace("_", "-"): value for name, value in fields.items()}}
    asked = {"model": "m", "stream": True} if body is None else body
    return http.post(gateway.url + PATH, json=asked, headers=headers)


@pytest.mark.usefixtures("processes")
async def test_the_stream_has_the_bytes_of_the_provider_and_each_event_sent_has_an_id(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (_provider, gateway):
        async with ask(http, gateway) as answer:
            body = await answer.read()
            assert answer.headers["X-Provider-Id"] == "req_7"
            assert answer.content_type == "text/event-stream"
            url = answer.headers["Stream-URL"]
            start = answer.headers["Stream-Next-Offset"]
        assert without_ids(body) == WHOLE
        assert len(ID_LINE.findall(body)) == len(chat_completion())
        async with http.get(url, params={"offset": start}) as read:
            assert await read.read() == WHOLE
            assert read.headers["Stream-Closed"] == "true"
            assert read.headers["Stream-Next-Offset"] == ID_LINE.findall(body)[-1].decode()


@pytest.mark.usefixtures("processes")
async def test_an_answer_goes_on_without_its_client_and_is_joined_from_its_beginning(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.allow(3)
        async with ask(http, gateway, Idempotency_Key="one") as answer:
            assert await answer.content.readany()
        async with ask(http, gateway, Idempotency_Key="one") as joined:
            provider.allow()
            assert message(await joined.read()) == message()
    assert len(provider.requests) == 1
    assert provider.left == 0


@pytest.mark.usefixtures("processes")
async def test_equal_requests_while_the_head_is_awaited_are_one_request_to_the_provider(
    http: aiohttp.ClientSession,
) -> None:
    async def body() -> bytes:
        async with ask(http, gateway, Idempotency_Key="one") as answer:
            received: bytes = await answer.read()
            return received

    async def joined() -> bool:
        async with http.get(f"{gateway.admin_url}/metrics") as metrics:
            line = f'headgate_model_answers_joined_total{{route="{OPENAI}"}} 9.0'
            return line in await metrics.text()

    async with answering() as (provider, gateway):
        provider.hold_heads()
        asked = [asyncio.create_task(body()) for _ in range(10)]
        await until(joined)
        provider.allow_heads()
        bodies = await asyncio.gather(*asked)
    assert [message(it) for it in bodies] == [message()] * 10
    assert len(provider.requests) == 1


@pytest.mark.usefixtures("processes")
async def test_a_key_that_comes_with_another_request_is_refused(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (_provider, gateway):
        async with ask(http, gateway, Idempotency_Key="one") as answer:
            await answer.read()
        other = {"model": "other", "stream": True}
        async with ask(http, gateway, other, Idempotency_Key="one") as refused:
            assert refused.status == 422
            assert (await refused.json())["code"] == "idempotency_key_reused"


@pytest.mark.usefixtures("processes")
async def test_two_strangers_with_one_idempotency_key_get_an_answer_each(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        for key in ("sk-one", "sk-two"):
            async with ask(
                http, gateway, Idempotency_Key="one", Authorization=f"Bearer {key}"
            ) as answer:
                await answer.read()
    sent = [request.headers["Authorization"] for request in provider.requests]
    assert sent == ["Bearer sk-one", "Bearer sk-two"]


@pytest.mark.usefixtures("processes")
async def test_without_any_key_of_an_owner_nothing_is_joined(http: aiohttp.ClientSession) -> None:
    async with answering() as (provider, gateway):
        for _ in range(2):
            async with ask(http, gateway, Idempotency_Key="one", Authorization="") as answer:
                await answer.read()
    assert len(provider.requests) == 2


@pytest.mark.usefixtures("processes")
async def test_a_gateway_killed_amid_an_answer_ends_it_with_a_reason_at_its_next_start(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with answering(tmp_path) as (provider, gateway):
        provider.hold()
        provider.allow(3)
        async with ask(http, gateway, Idempotency_Key="one") as answer:
            begun = await answer.content.readany()
            url = answer.headers["Stream-URL"]
            gateway.kill()
        gateway.start()
        async with http.get(url, params={"offset": "-1", "live": "sse"}) as read:
            events = (await read.read()).decode()
        assert "the gateway stopped in the middle of the answer" in events
        assert '"streamClosed":true' in events
        async with ask(http, gateway, Idempotency_Key="one") as answer:
            rest = await answer.read()
        assert chat_message(data_of(rest)[:-1]) == chat_message(data_of(begun))
        async with http.get(f"{url}/record") as record:
            assert (await record.json())[-1]["outcome"] == "failed"
    assert len(provider.requests) == 1


@pytest.mark.usefixtures("processes")
async def test_a_stream_that_is_named_like_a_record_keeps_no_answer_from_its_end(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with answering(tmp_path) as (provider, gateway):
        provider.hold()
        foreign = f"{gateway.streams}/answers/0/record"  # the first that is looked at
        made = {"Content-Type": "application/json"}
        async with http.put(foreign, data=b'[{"a": 1}]', headers=made) as created:
            assert created.status == 201
        provider.allow(3)
        async with ask(http, gateway) as answer:
            await answer.content.readany()
            url = answer.headers["Stream-URL"]
            gateway.kill()
        gateway.start()
        async with http.get(url, params={"offset": "-1", "live": "sse"}) as read:
            assert b"the gateway stopped in the middle" in await read.read()
        async with http.get(foreign) as read:
            assert await read.json() == [{"a": 1}]


@pytest.mark.usefixtures("processes")
async def test_a_second_upstream_is_called_where_the_first_cannot_be_reached(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as provider:
        upstream = ["http://127.0.0.1:9", provider.url]
        with gateway_before(provider, settings={"upstream": upstream}) as gateway:
            async with ask(http, gateway) as answer:
                assert without_ids(await answer.read()) == WHOLE


@pytest.mark.usefixtures("processes")
async def test_a_provider_that_cannot_be_reached_is_named_in_a_502_and_the_next_try_begins_anew(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as provider:
        upstream = "http://127.0.0.1:9"
        with gateway_before(provider, settings={"upstream": upstream}) as gateway:
            for _ in range(2):
                async with ask(http, gateway, Idempotency_Key="one") as answer:
                    assert answer.status == 502
                    assert upstream in (await answer.json())["detail"]
            async with http.get(f"{gateway.streams}/answers") as read:
                assert read.status == 404


@pytest.mark.usefixtures("processes")
async def test_answers_that_run_are_bounded_in_all_and_for_each_owner(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as provider:
        provider.hold()
        bounds = {"max_answers": 2, "max_client_answers": 1}
        with gateway_before(provider, settings=bounds) as gateway:
            provider.allow(2)
            async with (
                ask(http, gateway),
                ask(http, gateway, Authorization="Bearer b"),
                ask(http, gateway) as refused,
            ):
                assert refused.status == 503
                assert "max_answers" in (await refused.json())["detail"]
        bounds = {"max_answers": 9, "max_client_answers": 1}
        with gateway_before(provider, settings=bounds) as gateway:
            provider.allow(1)
            async with ask(http, gateway), ask(http, gateway) as refused:
                assert refused.status == 429
                assert "max_client_answers" in (await refused.json())["detail"]
            async with http.get(f"{gateway.admin_url}/metrics") as metrics:
                text = await metrics.text()
            assert f'headgate_model_answers_refused_total{{route="{OPENAI}"}} 1.0' in text


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("streams", [True, False], ids=["stored", "passed on"])
async def test_keys_that_the_provider_has_not_accepted_leave_half_of_the_places_to_others(
    streams: bool, http: aiohttp.ClientSession
) -> None:
    behind_proxy = {"HEADGATE_HTTP__TRUSTED_PROXIES": "127.0.0.1"}
    body = {"model": "m", "stream": streams}

    async def status(key: str, address: str = "192.0.2.1") -> int:
        fields = {"Authorization": f"Bearer {key}", "X_Forwarded_For": address}
        async with ask(http, gateway, body, **fields) as answer:
            text = await answer.text()
            assert answer.status != 429 or "the provider has not accepted" in text
            return int(answer.status)

    async with providing() as provider:
        with gateway_before(
            provider, settings={"max_answers": 4}, environment=behind_proxy
        ) as gateway:
            assert await status("good") == 200
            provider.hold_heads()  # of streams; of others by what follows
            provider.lingers = asyncio.Event()
            waiting = [asyncio.create_task(status(key)) for key in ("made-up", "another")]
            await until(lambda: len(provider.requests) == 3)
            if streams:  # which goes on without its client
                waiting.pop().cancel()
            assert await status("third") == 429
            assert await status("") == 429
            others = [("good", "192.0.2.1"), ("new", "192.0.2.2")]
            waiting += [asyncio.create_task(status(*it)) for it in others]
            await until(lambda: len(provider.requests) == 5)
            assert await status("good") == 503
            provider.allow_heads()
            provider.lingers.set()
            assert set(await asyncio.gather(*waiting)) == {200}
            assert await status("third") == 200


def taken(places: CompletionPlaces, owner: bytes, address: str) -> TakenPlace:
    """Return a place that is not given back."""
    with places.acquired(owner, address) as place:
        return place


def test_a_key_counts_for_its_address_until_it_is_accepted_and_again_once_it_is_refused() -> None:
    places = CompletionPlaces(6, 3)
    first = taken(places, b"key:a", "192.0.2.1")
    taken(places, b"key:b", "192.0.2.1")
    places.note_status(first, 500)
    taken(places, b"", "192.0.2.1")
    with pytest.raises(ClientLimitReached, match="by your address"):
        taken(places, b"key:a", "192.0.2.1")
    places.note_status(first, 200)
    others = [taken(places, b"key:a", "192.0.2.1") for _ in range(2)]
    with pytest.raises(ClientLimitReached, match="max_client_answers is reached: wait"):
        taken(places, b"key:a", "192.0.2.2")
    taken(places, b"key:c", "192.0.2.1")  # the place that the accepted key has left
    with pytest.raises(LimitReached):
        taken(places, b"key:d", "192.0.2.3")
    for place in (first, *others):
        places.release(place)
    places.note_status(others[0], 401)
    with pytest.raises(ClientLimitReached, match="by your address"):
        taken(places, b"key:a", "192.0.2.1")


def test_the_keys_that_are_remembered_as_accepted_are_bounded() -> None:
    places = CompletionPlaces(2, 2)
    for number in range(MOST_ACCEPTED + 1):
        place = taken(places, b"key:%d" % number, "192.0.2.1")
        places.note_status(place, 200)
        places.release(place)
    taken(places, b"key:0", "192.0.2.1")
    with pytest.raises(ClientLimitReached):
        taken(places, b"key:0", "192.0.2.1")
    taken(places, b"key:1", "192.0.2.1")


@pytest.mark.usefixtures("processes")
async def test_answers_that_are_passed_on_are_bounded_until_they_end_or_lose_their_client(
    http: aiohttp.ClientSession,
) -> None:
    async def whole() -> int:
        async with ask(http, gateway, {"model": "m"}) as answer:
            await answer.read()
            return int(answer.status)

    async def is_free() -> bool:
        return await whole() == 200

    async with answering(settings={"max_client_answers": 1}) as (provider, gateway):
        provider.lingers = asyncio.Event()
        leaving = asyncio.create_task(whole())
        await until(lambda: len(provider.requests) == 1)
        assert await whole() == 429
        leaving.cancel()
        await until(lambda: provider.left == 1)
        provider.lingers.set()
        await until(is_free)
        assert await whole() == 200
        provider.statuses = [500]
        assert await whole() == 500
        assert await whole() == 200


@pytest.mark.usefixtures("processes")
async def test_usage_and_outcome_are_recorded_once_for_each_answer(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (_provider, gateway):
        urls = set()
        for _ in range(3):
            async with ask(http, gateway, Idempotency_Key="one") as answer:
                await answer.read()
                urls.add(answer.headers["Stream-URL"])
        (url,) = urls
        async with http.get(f"{url}/record") as record:
            entries = await record.json()
        assert [entry["entry"] for entry in entries] == ["request", "response", "end"]
        assert entries[0]["model"] == "m"
        assert entries[2]["usage"] == {"input_tokens": 9, "output_tokens": 12}
        assert "content" not in json.dumps(entries[0])
        async with http.get(f"{gateway.admin_url}/metrics") as metrics:
            text = await metrics.text()
        at = f'route="{OPENAI}"'
        of = f'model="m",{at}'
        assert f'headgate_model_answers_total{{outcome="complete",{at}}} 1.0' in text
        assert f"headgate_model_answers_joined_total{{{at}}} 2.0" in text
        assert f'headgate_model_tokens_total{{kind="input",{of}}} 9.0' in text
        assert f'headgate_model_tokens_total{{kind="output",{of}}} 12.0' in text


@pytest.mark.smoke
@pytest.mark.usefixtures("processes")
async def test_a_reader_that_was_cut_off_gets_the_rest_of_an_answer_without_its_end(
    http: aiohttp.ClientSession,
) -> None:
    request: dict[str, Any] = {"json": {"stream": True}}
    fields = {"Authorization": "Bearer sk-mine", "Idempotency-Key": "one"}
    async with scripted(ended(b"".join(chat_completion()[:4]))) as provider:
        with gateway_before(provider) as gateway:
            async with http.post(gateway.url + PATH, headers=fields, **request) as answer:
                first, _, rest = (await answer.read()).partition(b"\n\n")
            last = {"Last-Event-ID": first.rpartition(b"id: ")[2].decode()}
            async with http.post(gateway.url + PATH, headers=fields | last, **request) as again:
                assert await again.read() == rest
            assert provider.calls == 1
