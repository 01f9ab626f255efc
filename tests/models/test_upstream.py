"""Providers that refuse, break off, fall silent or say too much, and their other servers."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.models.answers import chat_completion, response, without_ids
from tests.models.in_process import model_route, request_of
from tests.models.provider import FLOOD_BYTES, providing
from tests.models.serving import OPENAI, answering, gateway_before
from tests.support.gated_log import GatedLog
from tests.support.serving import serving
from tests.support.waiting import at_rest, until

if TYPE_CHECKING:
    import aiohttp

    from tests.support.processes import Headgate

CHAT, RESPONSES = f"{OPENAI}/v1/chat/completions", f"{OPENAI}/v1/responses"
WHOLE, RESPONSE = b"".join(chat_completion()), b"".join(response())


def ask(http: aiohttp.ClientSession, gateway: Headgate, path: str = CHAT, **body: object) -> Any:
    """Send a request for a streaming answer."""
    asked = {"model": "m", "stream": True, **body}
    return http.post(gateway.url + path, json=asked, headers={"Authorization": "Bearer sk-mine"})


@pytest.mark.usefixtures("processes")
async def test_a_second_server_is_called_for_an_answer_that_is_passed_on(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as first, providing() as second:
        first.statuses = [429]
        upstream = [first.url, second.url]
        with gateway_before(first, settings={"upstream": upstream}) as gateway:
            async with ask(http, gateway, stream=False) as answer:
                assert answer.status == 200
        assert len(first.requests) == len(second.requests) == 1


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
async def test_a_second_server_is_called_where_the_first_refuses(
    http: aiohttp.ClientSession, status: int
) -> None:
    async with providing() as first, providing() as second:
        first.statuses = [status]
        upstream = [first.url, second.url]
        with gateway_before(first, settings={"upstream": upstream}) as gateway:
            async with ask(http, gateway) as answer:
                assert without_ids(await answer.read()) == WHOLE
            async with http.get(f"{gateway.admin_url}/metrics") as metrics:
                text = await metrics.text()
        assert f'headgate_model_retries_total{{route="{OPENAI}"}} 1.0' in text
        assert len(first.requests) == len(second.requests) == 1


@pytest.mark.usefixtures("processes")
async def test_the_last_refusal_comes_as_it_is_where_all_servers_refuse(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as first, providing() as second:
        first.statuses, second.statuses = [503], [429]
        second.refusal_fields = {"Retry-After": "7"}
        upstream = [first.url, second.url]
        with gateway_before(first, settings={"upstream": upstream}) as gateway:
            async with ask(http, gateway) as answer:
                assert answer.status == 429
                assert answer.headers["Retry-After"] == "7"
                assert (await answer.json())["error"]["message"] == "try later"


KEPT = {
    "another status": (400, {}),
    "a gateway's time-out": (504, {}),
    "a provider that says so": (503, {"x-should-retry": "false"}),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("status", "fields"), KEPT.values(), ids=KEPT)
async def test_other_refusals_go_to_no_other_server(
    http: aiohttp.ClientSession, status: int, fields: dict[str, str]
) -> None:
    async with providing() as first, providing() as second:
        first.statuses, first.refusal_fields = [status], fields
        settings = {"upstream": [first.url, second.url], "retries": 3}
        with gateway_before(first, settings=settings) as gateway:
            async with ask(http, gateway) as answer:
                assert answer.status == status
        assert len(first.requests) == 1
        assert not second.requests


@pytest.mark.usefixtures("processes")
async def test_a_request_that_broke_off_before_its_head_is_never_sent_again(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as first, providing() as second:
        first.breaks_before_head = True
        settings = {"upstream": [first.url, second.url], "retries": 3}
        with gateway_before(first, settings=settings) as gateway:
            async with ask(http, gateway) as answer:
                assert answer.status == 502
                assert "closed the connection without a response" in (await answer.json())["detail"]
        assert len(first.requests) == 1
        assert not second.requests


@pytest.mark.usefixtures("processes")
async def test_a_refused_request_is_sent_again_after_the_pause_that_the_provider_names(
    http: aiohttp.ClientSession,
) -> None:
    async with answering(settings={"retries": 2}) as (provider, gateway):
        provider.statuses, provider.refusal_fields = [429, 503], {"retry-after-ms": "200"}
        began = time.monotonic()
        async with ask(http, gateway) as answer:
            assert without_ids(await answer.read()) == WHOLE
        assert time.monotonic() - began >= 0.4
        assert len(provider.requests) == 3
        provider.statuses = [429, 429, 429]
        async with ask(http, gateway) as answer:
            assert answer.status == 429
        assert len(provider.requests) == 6


@pytest.mark.usefixtures("processes")
async def test_a_pause_of_a_minute_or_more_is_the_client_s(http: aiohttp.ClientSession) -> None:
    async with answering(settings={"retries": 2}) as (provider, gateway):
        provider.statuses, provider.refusal_fields = [429], {"Retry-After": "60"}
        async with ask(http, gateway) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
    assert len(provider.requests) == 1


@pytest.mark.usefixtures("processes")
async def test_a_server_that_starts_late_is_reached_by_a_retry(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as provider:
        upstream = "http://127.0.0.1:9"
        settings = {"upstream": upstream, "retries": 1}
        with gateway_before(provider, settings=settings) as gateway:
            began = time.monotonic()
            async with ask(http, gateway) as answer:
                assert answer.status == 502
            assert time.monotonic() - began >= 0.25


@pytest.mark.usefixtures("processes")
async def test_a_provider_that_cannot_be_reached_is_named_with_the_reason(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as provider:
        speaks_no_tls = provider.url.replace("http:", "https:")
        upstream = ["http://nowhere.invalid", speaks_no_tls]
        with gateway_before(provider, settings={"upstream": upstream}) as gateway:
            async with ask(http, gateway) as answer:
                assert answer.status == 502
                sentence = (await answer.json())["detail"]
    assert "http://nowhere.invalid has a host name that cannot be resolved" in sentence
    assert f"; {speaks_no_tls} does not speak TLS as we do" in sentence


@pytest.mark.usefixtures("processes")
async def test_other_requests_go_to_the_next_server_only_if_nothing_was_sent(
    http: aiohttp.ClientSession,
) -> None:
    async with providing() as first, providing() as second:
        first.statuses = [429]
        upstream = ["http://127.0.0.1:9", first.url, second.url]
        with gateway_before(first, settings={"upstream": upstream}) as gateway:
            async with http.get(f"{gateway.url}{OPENAI}/v1/models") as answer:
                assert answer.status == 429
        assert not second.requests


@pytest.mark.usefixtures("processes")
async def test_a_provider_without_a_head_in_time_is_a_504(http: aiohttp.ClientSession) -> None:
    async with answering(settings={"read_timeout": 1.0}) as (provider, gateway):
        provider.hold_heads()
        async with ask(http, gateway) as answer:
            assert answer.status == 504
    assert len(provider.requests) == 1


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("missing", [0, 1], ids=["as many bytes", "one byte less"])
async def test_an_answer_ends_with_an_error_behind_the_last_event_that_fits(
    http: aiohttp.ClientSession, missing: int
) -> None:
    async with providing() as provider:
        settings = {"max_answer_size": len(WHOLE) - missing}
        with gateway_before(provider, settings=settings) as gateway:
            async with ask(http, gateway) as answer:
                body = without_ids(await answer.read())
                url = answer.headers["Stream-URL"]
            async with http.get(f"{url}/record") as record:
                end = (await record.json())[-1]
        if not missing:
            assert body == WHOLE
            assert end["outcome"] == "complete"
            return
        *events, failure = (event + b"\n\n" for event in body.split(b"\n\n")[:-1])
        assert events == chat_completion()[:-1]
        assert json.loads(failure[5:])["error"]["code"] == "answer_too_long"
        assert "max_answer_size" in end["reason"]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("missing", [0, 1], ids=["as many bytes", "one byte less"])
async def test_an_answer_that_does_not_stream_is_refused_if_it_is_too_long(
    http: aiohttp.ClientSession, missing: int
) -> None:
    async with providing() as provider:
        async with http.post(f"{provider.url}/v1/chat/completions", json={}) as direct:
            whole = await direct.read()
        settings = {"whole": True, "max_answer_size": len(whole) - missing}
        with gateway_before(provider, settings=settings) as gateway:
            async with ask(http, gateway, stream=False) as answer:
                assert answer.status == (502 if missing else 200)
                body = await answer.read()
                assert (b"max_answer_size" in body) == bool(missing)


# ---------------------------------------------------------------- background responses

CUTS = list(itertools.accumulate(map(len, response())))[:-1]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("amid", [0, -3], ids=["behind an event", "amid an event"])
async def test_a_background_response_is_resumed_wherever_its_connection_is_lost(
    http: aiohttp.ClientSession, amid: int
) -> None:
    async with answering(settings={"resume": True}) as (provider, gateway):
        for cut in CUTS[1:] if amid else CUTS:
            provider.requests.clear()
            provider.cuts = [cut + amid]
            async with ask(http, gateway, RESPONSES, background=True) as answer:
                assert without_ids(await answer.read()) == RESPONSE
            methods = [request.method for request in provider.requests]
            assert methods == ["POST", "GET"]
            assert "Content-Type" not in provider.requests[1].headers
        async with http.get(f"{gateway.admin_url}/metrics") as metrics:
            text = await metrics.text()
    resumed = f'headgate_model_answers_resumed_total{{route="{OPENAI}"}}'
    assert f"{resumed} {float(len(CUTS) - (1 if amid else 0))}" in text


@pytest.mark.usefixtures("processes")
async def test_a_background_response_that_is_cut_behind_every_event_is_one_answer(
    http: aiohttp.ClientSession,
) -> None:
    async with answering(settings={"resume": True}) as (provider, gateway):
        provider.cuts = [len(event) for event in response()]
        async with ask(http, gateway, RESPONSES, background=True) as answer:
            assert without_ids(await answer.read()) == RESPONSE
    methods = [request.method for request in provider.requests]
    assert methods == ["POST", *["GET"] * (len(response()) - 1)]


@pytest.mark.usefixtures("processes")
async def test_a_resumption_outlasts_refusals_of_the_provider(http: aiohttp.ClientSession) -> None:
    async with answering(settings={"resume": True}) as (provider, gateway):
        provider.hold()
        provider.cuts = [CUTS[2]]
        provider.refusal_fields = {"retry-after-ms": "1"}
        provider.allow(1)
        async with ask(http, gateway, RESPONSES, background=True) as answer:
            provider.statuses = [503, 429]
            provider.allow()
            assert without_ids(await answer.read()) == RESPONSE
    assert [request.method for request in provider.requests].count("POST") == 1


NOT_RESUMED = {
    "by default": ({}, {"background": True}, CUTS[2], []),
    "not in background": ({"resume": True}, {}, CUTS[2], []),
    "before the first event": ({"resume": True}, {"background": True}, 3, []),
    "unknown to the provider": ({"resume": True}, {"background": True}, CUTS[2], [404]),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("settings", "body", "cut", "statuses"), NOT_RESUMED.values(), ids=NOT_RESUMED
)
async def test_a_response_that_cannot_be_resumed_ends_with_an_error_and_is_requested_once(
    http: aiohttp.ClientSession,
    settings: dict[str, object],
    body: dict[str, object],
    cut: int,
    statuses: list[int],
) -> None:
    async with answering(settings=settings) as (provider, gateway):
        provider.hold()
        provider.cuts = [cut]
        provider.allow(1)
        async with ask(http, gateway, RESPONSES, **body) as answer:
            provider.statuses = statuses
            provider.allow()
            received = without_ids(await answer.read())
    begun = RESPONSE[: cut if cut in CUTS else 0]
    assert received.startswith(begun + b"event: error\n")
    assert b"broke off" in received[len(begun) :]
    assert [request.method for request in provider.requests].count("POST") == 1


@pytest.mark.usefixtures("processes")
async def test_a_response_that_the_provider_resumes_with_a_gap_ends_with_an_error(
    http: aiohttp.ClientSession,
) -> None:
    async with answering(settings={"resume": True}) as (provider, gateway):
        provider.skips = 1
        provider.cuts = [CUTS[2]]
        async with ask(http, gateway, RESPONSES, background=True) as answer:
            received = without_ids(await answer.read())
    begun = RESPONSE[: CUTS[2]]
    assert received.startswith(begun + b"event: error\n")
    assert b"resumed at 4 after event 2" in received[len(begun) :]


@pytest.mark.usefixtures("processes")
async def test_events_that_a_provider_repeats_when_it_resumes_are_dropped(
    http: aiohttp.ClientSession,
) -> None:
    async with answering(settings={"resume": True}) as (provider, gateway):
        provider.skips = -2
        provider.cuts = [CUTS[4]]
        async with ask(http, gateway, RESPONSES, background=True) as answer:
            assert without_ids(await answer.read()) == RESPONSE


# ---------------------------------------------------------------- a log that is slow


async def test_a_provider_whose_answer_is_stored_slowly_is_read_slowly() -> None:
    log = GatedLog()
    async with (
        providing() as provider,
        serving(log) as gateway,
        model_route(provider, gateway) as route,
    ):
        provider.flood = 1000
        answer = await route.answers.answer_to(request_of("one"))
        await answer.wait_for_head()
        await until(lambda: provider.sent > 0)
        log.commits.clear()
        # What the sockets of both take, and 128 KiB of the client.
        assert await at_rest(lambda: provider.sent) < provider.flood / 2
        log.commits.set()
        await answer.wait_for_end()
        assert answer.position == provider.flood * FLOOD_BYTES
        assert provider.sent == provider.flood
