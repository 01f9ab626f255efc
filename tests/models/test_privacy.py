"""What is stored of requests and answers, for how long, for whom, and how it is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.models.answers import chat_completion, without_ids
from tests.models.in_process import model_route, request_of
from tests.models.provider import providing
from tests.models.serving import OPENAI, STREAMS, answering, gateway_before
from tests.support.given_settings import variables
from tests.support.serving import get, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from headgate_gateway.features.models.completion_route import CompletionRoute
    from tests.support.processes import Headgate
    from tests.support.serving import Serving

PATH = f"{OPENAI}/v1/chat/completions"
WHOLE = b"".join(chat_completion())
BODY = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "a secret wish"}]}
ANSWER_S, READ_AFTER_S = 100, 70  # the TTL of answers, and when one of them is read


def ask(http: aiohttp.ClientSession, gateway: Headgate, **fields: str) -> Any:
    """Send a request for a streaming answer; `Idempotency_Key` is written with a hyphen."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    sent = {"Authorization": "Bearer sk-mine", **headers}
    return http.post(gateway.url + PATH, json=BODY, headers=sent)


async def url_of(http: aiohttp.ClientSession, gateway: Headgate, **fields: str) -> str:
    """Return the URL of an answer that is over."""
    async with ask(http, gateway, **fields) as answer:
        assert without_ids(await answer.read()) == WHOLE
        return str(answer.headers["Stream-URL"])


async def status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as read:
        return read.status


@pytest.mark.usefixtures("processes")
async def test_prompts_are_not_stored(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with answering(tmp_path) as (_provider, gateway):
        url = await url_of(http, gateway, Idempotency_Key="one")
        assert await status(http, f"{url}/prompts") == 404
        gateway.terminate()
        files = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
        assert files
        assert not any(b"secret wish" in file.read_bytes() for file in files)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("is_running", [False, True], ids=["that is over", "that runs"])
async def test_an_answer_is_deleted_with_its_record(
    http: aiohttp.ClientSession, *, is_running: bool
) -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.allow(2 if is_running else 1000)
        async with ask(http, gateway, Idempotency_Key="one") as answer:
            url = answer.headers["Stream-URL"]
            if not is_running:
                await answer.read()
            assert await status(http, f"{url}/record") == 200
            async with http.delete(url) as deleted:
                assert deleted.status == 204

        async def is_gone() -> bool:
            return await status(http, f"{url}/record") == 404

        await until(is_gone)
        provider.allow()
        assert await url_of(http, gateway, Idempotency_Key="one") == url
    assert len(provider.requests) == 2


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("query", ["", "?offset=-1&live=sse"], ids=["read", "followed"])
async def test_only_the_answers_of_a_public_route_may_be_stored_by_shared_caches(
    http: aiohttp.ClientSession, query: str, *, public: bool
) -> None:
    async with answering(settings={"public": public}) as (_provider, gateway):
        url = await url_of(http, gateway)
        async with http.get(url + query) as read:
            lifetime = read.headers["Cache-Control"]
        assert ("private" in lifetime) == (not public)
        made = {"Content-Type": "text/plain"}
        async with http.put(f"{gateway.streams}/else", data=b"one", headers=made) as created:
            assert created.status == 201
        async with http.get(f"{gateway.streams}/else") as other:
            assert "private" not in other.headers["Cache-Control"]


@pytest.mark.usefixtures("processes")
async def test_a_ttl_beyond_that_of_the_streams_is_refused_at_the_start() -> None:
    async with providing() as provider:
        table = [{"prefix": "/v1/stream", "storage": "memory:", "max_ttl": 60}]
        with (
            pytest.raises(AssertionError, match="TTL is 61, but must be up to max_ttl"),
            gateway_before(
                provider, settings={"ttl": 61}, environment=variables({"routes": table})
            ),
        ):
            pass


# ---------------------------------------------------------------- time to live


async def answered(route: CompletionRoute) -> str:
    """Return the name of the stream with the answer to the same request as ever."""
    answer = await route.completions.completion_for(request_of("one"))
    await answer.wait_for_end()
    return answer.name


def deadline(gateway: Serving, name: str) -> float:
    """Return when the stream with this name below the answers ends, as the log has it in memory."""
    active = gateway.route.table.get(f"answers/{name}")
    assert active is not None
    assert active.state is not None
    return active.state.deadline or 0.0


async def test_reads_of_an_answer_renew_its_record_so_that_its_key_joins_it() -> None:
    async with (
        providing() as provider,
        serving() as gateway,
        model_route(provider, gateway, ttl=ANSWER_S) as it,
    ):
        name = await answered(it)
        for _ in range(4):
            gateway.clock.advance(READ_AFTER_S)
            read = await gateway.ask(get(f"{STREAMS}/{name}"))
            assert read.body == WHOLE
            await until(lambda: deadline(gateway, f"{name}/record") > gateway.clock() + ANSWER_S)
        assert await answered(it) == name
        assert len(provider.requests) == 1


async def test_joins_renew_an_answer_and_without_reads_it_ends_with_its_record() -> None:
    async with (
        providing() as provider,
        serving() as gateway,
        model_route(provider, gateway, ttl=ANSWER_S) as it,
    ):
        name = await answered(it)
        gateway.clock.advance(ANSWER_S + 1)
        assert (await gateway.ask(get(f"{STREAMS}/{name}"))).status == 404
        assert await answered(it) == name
        assert len(provider.requests) == 2
        assert (await gateway.ask(get(f"{STREAMS}/{name}"))).body == WHOLE
