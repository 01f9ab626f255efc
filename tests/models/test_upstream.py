"""Providers that refuse, break off, fall silent or say too much, and their other servers."""

from __future__ import annotations

import gc
import json
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.features.models.writer import WrittenCompletion
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
WHOLE = b"".join(chat_completion())


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
        settings = {"upstream": [first.url, second.url]}
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
        settings = {"upstream": [first.url, second.url]}
        with gateway_before(first, settings=settings) as gateway:
            async with ask(http, gateway) as answer:
                assert answer.status == 502
                assert "closed the connection without a response" in (await answer.json())["detail"]
        assert len(first.requests) == 1
        assert not second.requests


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


# ---------------------------------------------------------------- background responses


@pytest.mark.usefixtures("processes")
async def test_a_background_response_that_broke_off_is_retrieved_from_its_provider(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.cuts_after = 3
        provider.allow(3)
        async with ask(http, gateway, RESPONSES, background=True) as answer:
            assert await answer.content.readany()
            provider.allow()
            assert b"broke off" in await answer.read()
        provider.cuts_after = None
        url = f"{gateway.url}{RESPONSES}/resp_1?stream=true&starting_after=2"
        async with http.get(url, headers={"Authorization": "Bearer sk-mine"}) as rest:
            assert without_ids(await rest.read()) == b"".join(response()[3:])
    assert [request.method for request in provider.requests] == ["POST", "GET"]


# ---------------------------------------------------------------- a log that is slow


async def test_a_provider_whose_answer_is_stored_slowly_is_read_slowly() -> None:
    log = GatedLog()
    async with (
        providing() as provider,
        serving(log) as gateway,
        model_route(provider, gateway) as route,
    ):
        provider.flood = 1000
        answer = await route.completions.completion_for(request_of("one"))
        await answer.wait_for_head()
        await until(lambda: provider.sent > 0)
        log.commits.clear()
        # What the sockets of both take, and 128 KiB of the client.
        assert await at_rest(lambda: provider.sent) < provider.flood / 2
        log.commits.set()
        await answer.wait_for_end()
        assert answer.position == provider.flood * FLOOD_BYTES
        assert provider.sent == provider.flood


async def test_no_frame_refers_to_an_answer_that_was_cut_once_it_is_over() -> None:
    async with (
        providing() as provider,
        serving() as gateway,
        model_route(provider, gateway) as route,
    ):
        gc.collect()
        gc.disable()
        try:
            provider.cuts_after = 2
            answer = await route.completions.completion_for(request_of("one"))
            await answer.wait_for_end()
            assert answer.outcome == "failed"
            await until(lambda: WrittenCompletion._run.__code__ not in _traced_back())
        finally:
            gc.enable()


def _traced_back() -> set[CodeType]:
    """Return the code of the frames that the tracebacks of errors refer to."""
    return {it.tb_frame.f_code for it in gc.get_objects() if type(it) is TracebackType}
