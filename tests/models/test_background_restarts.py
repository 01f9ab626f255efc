"""A background response goes on while a gateway is restarted, and so does its answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import pytest
from multidict import CIMultiDict

from gateway.errors import LogUnavailable, StreamBusy
from gateway.features.models import record, upkeep
from gateway.features.models.provider.requests import AnswerOwner, AnswerRequest, RequestBody
from gateway.features.models.stored import BACKGROUND_S
from gateway.features.models.streams import ClaimLost
from tests.models.answers import response, without_ids
from tests.models.in_process import model_route
from tests.models.provider import RETRIEVED, Provider, providing
from tests.models.serving import OPENAI, answering, gateway_before, models
from tests.support.given_settings import variables
from tests.support.ports import free_port
from tests.support.serving import serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from gateway.features.models.answer_route import AnswerRoute
    from tests.support.processes import Headgate
    from tests.support.serving import Serving

EVENTS = response()
WHOLE = b"".join(EVENTS)
SENT = 5  # events before the restart
BODY = {"model": "m", "stream": True, "background": True}
KEY = {"Authorization": "Bearer sk-mine"}
OWN_KEY = "sk-of-the-gateway"
STOPS = {"SIGTERM": "terminate", "SIGKILL": "kill"}
PATH = "/v1/responses"
GRACE = {"HEADGATE_SHUTDOWN__GRACE": "0.2"}


def key_file(folder: Path) -> Path:
    file = folder / "key"
    file.write_text(OWN_KEY)
    file.chmod(0o600)
    return file


async def begun(http: aiohttp.ClientSession, gateway: Headgate) -> str:
    """Begin a background response whose provider holds it after some events; return its path."""
    async with http.post(f"{gateway.url}{OPENAI}/v1/responses", json=BODY, headers=KEY) as answer:
        body = b""
        while body.count(b"\nid: ") < SENT:
            body += await answer.content.readany()
        assert without_ids(body) == b"".join(EVENTS[:SENT])
        return str(urlsplit(answer.headers["Stream-URL"]).path)


async def restarted(gateway: Headgate, stop: str) -> None:
    await asyncio.to_thread(getattr(gateway, stop))
    await asyncio.to_thread(gateway.start)


async def record_of(http: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    async with http.get(f"{url}/record") as record:
        entries: list[dict[str, Any]] = await record.json()
        return entries


async def left(provider: Provider, gateway: Serving) -> str:
    """Begin a background response by a route that goes away amid it; return its name."""
    fields, body = CIMultiDict[str](), b'{"stream":true}'
    request = AnswerRequest(b"owner", "one", PATH, PATH, fields, RequestBody(body), "m", True)
    provider.hold()
    provider.allow(SENT)
    async with model_route(provider, gateway) as route:
        answer = await route.answers.answer_to(request)
        await answer.wait_beyond(sum(map(len, EVENTS[: SENT - 1])))
    return answer.name


async def until_it_waits(route: AnswerRoute, name: str) -> None:
    async def waits() -> bool:
        found = await record.read_record(route.streams, name)
        return found.answers[-1].waits is not None

    await until(waits)


async def followed(http: aiohttp.ClientSession, url: str) -> bytes:
    """Return all of a stream once it is closed, and so is its record, which is closed later."""

    async def is_closed() -> bool:
        async with http.head(f"{url}/record") as head:
            return head.headers.get("Stream-Closed") == "true"

    await until(is_closed, within_s=30)
    async with http.get(url) as read:
        return await read.read()


def retrievals(provider: Provider, key: str) -> list[str]:
    """Return the queries of the requests for the rest, all with this key."""
    assert [it.method for it in provider.requests].count("POST") == 1
    found = [it for it in provider.requests if it.path == RETRIEVED]
    assert {it.headers["Authorization"] for it in found} <= {f"Bearer {key}"}
    return [it.query_string for it in found]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "stop",
    [
        pytest.param("terminate", id="SIGTERM"),
        pytest.param("kill", id="SIGKILL", marks=pytest.mark.smoke),
    ],
)
async def test_an_answer_goes_on_after_a_restart_with_the_key_of_the_gateway(
    http: aiohttp.ClientSession, tmp_path: Path, stop: str
) -> None:
    async with providing() as provider:
        provider.hold()
        provider.allow(SENT)
        settings = {"key_file": str(key_file(tmp_path))}
        with gateway_before(provider, tmp_path, settings, GRACE) as gateway:
            url = gateway.url + await begun(http, gateway)
            await restarted(gateway, stop)
            await until(lambda: len(provider.requests) == 2)
            provider.allow()
            assert await followed(http, url) == WHOLE
            assert (await record_of(http, url))[-1]["outcome"] == "complete"
    assert retrievals(provider, OWN_KEY) == [f"stream=true&starting_after={SENT - 1}"]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "other",
    [[], [404], [429, 404], [500, 404]],
    ids=["unreachable", "does not know it", "too busy first", "fails first"],
)
async def test_after_a_restart_each_server_is_asked_for_the_rest_until_one_knows_it(
    http: aiohttp.ClientSession, tmp_path: Path, other: list[int]
) -> None:
    settings = {"key_file": str(key_file(tmp_path))}
    async with providing() as provider, providing() as first:
        provider.hold()
        provider.allow(SENT)
        first.statuses = [*other]
        first.refusal_fields = {"retry-after-ms": "10"}
        unreachable = f"http://127.0.0.1:{free_port()}"
        with gateway_before(provider, tmp_path, settings, GRACE) as gateway:
            url = gateway.url + await begun(http, gateway)
            await asyncio.to_thread(gateway.terminate)
            servers = [first.url if other else unreachable, provider.url]
            anew = models(provider, {**settings, "upstream": servers})
            gateway.environment |= variables({"models": anew})
            await asyncio.to_thread(gateway.start)
            await until(lambda: len(provider.requests) == 2, within_s=30)
            provider.allow()
            assert await followed(http, url) == WHOLE
    assert len(first.requests) == len(other)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
async def test_an_answer_waits_for_the_key_of_its_caller_and_goes_on_when_it_is_retrieved(
    http: aiohttp.ClientSession, tmp_path: Path, stop: str
) -> None:
    async with answering(tmp_path, environment=GRACE) as (provider, gateway):
        provider.hold()
        provider.allow(SENT)
        url = gateway.url + await begun(http, gateway)
        await restarted(gateway, stop)

        async def waits() -> bool:
            return bool((await record_of(http, url))[-1]["entry"] == "wait")

        await until(waits)
        async with http.get(f"{gateway.admin_url}/metrics") as metrics:
            waiting = f'headgate_model_answers_waiting{{route="{OPENAI}"}} 1.0'
            assert waiting in await metrics.text()
        assert not retrievals(provider, "")
        provider.allow()
        async with http.get(
            f"{gateway.url}{OPENAI}{RETRIEVED}?stream=true&starting_after=1", headers=KEY
        ) as again:
            assert without_ids(await again.read()) == b"".join(EVENTS[2:])
        assert await followed(http, url) == WHOLE
        assert (await record_of(http, url))[-1]["outcome"] == "complete"
    assert retrievals(provider, "sk-mine") == [f"stream=true&starting_after={SENT - 1}"]
    stored = b"".join(it.read_bytes() for it in tmp_path.rglob("*") if it.is_file())
    assert b"sk-mine" not in stored


async def test_an_answer_that_nobody_retrieves_in_time_has_an_end_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upkeep, "LOOK_S", 0.05)
    async with providing() as provider, serving() as gateway:
        name = await left(provider, gateway)
        async with model_route(provider, gateway) as route:
            await until(lambda: name in route.answers.left.names)
            gateway.clock.advance(BACKGROUND_S - 1)
            over_at = asyncio.get_running_loop().time() + 0.2
            while asyncio.get_running_loop().time() < over_at:  # also amid looks
                await asyncio.sleep(0)
                assert name in route.answers.left.names
            gateway.clock.advance(1)
            await until(lambda: route.answers.stored.outcomes["unknown"] == 1)
            found = await route.answers.find(name)
            assert found is not None
            assert (found.outcome, route.answers.stored.outcomes["failed"]) == ("unknown", 0)
            assert not route.answers.left.names
        assert not retrievals(provider, "")


async def test_an_answer_in_a_chat_goes_on_by_the_route_alone_that_began_it() -> None:
    def request(key: str, *, in_background: bool = True) -> AnswerRequest:
        fields, body = CIMultiDict[str](), b'{"stream":true}'
        return AnswerRequest(
            b"o", key, PATH, PATH, fields, RequestBody(body), "m", in_background, "chat"
        )

    async with providing() as provider, serving() as gateway:
        provider.hold()
        provider.allow(len(EVENTS) + SENT)
        async with model_route(provider, gateway, prefix="/other") as route:
            first = await route.answers.answer_to(request("one", in_background=False))
            await first.wait_for_end()
        async with model_route(provider, gateway) as route:
            begun = await route.answers.answer_to(request("two"))
            await begun.wait_beyond(begun.request.position + sum(map(len, EVENTS[: SENT - 1])))
        async with model_route(provider, gateway, prefix="/other") as route:
            await until_it_waits(route, first.name)
            with pytest.raises(StreamBusy):
                await route.answers.answer_to(request("three"))
            caller = AnswerOwner(b"o", CIMultiDict())
            for found in (
                await route.answers.answer_to(request("one", in_background=False)),
                await route.answers.find(first.name, 0, caller),
            ):
                assert found is not None
                assert found.request == first.request
            gateway.clock.advance(BACKGROUND_S)  # as its own route may not be there any more
            provider.allow()
            last = await route.answers.answer_to(request("three"))
            await last.wait_for_end()
    assert [it.method for it in provider.requests] == ["POST"] * 3


async def test_an_answer_that_another_gateway_goes_on_with_is_left_to_it() -> None:
    async with providing() as provider, serving() as gateway:
        name = await left(provider, gateway)
        async with model_route(provider, gateway) as route:
            entry = record.encoded(record.ResumeEntry("other"))
            await route.streams.add(record.record_name(name), record.CONTENT_TYPE, entry)
            found = await record.read_record(route.streams, name)
            caller = AnswerOwner(b"owner", CIMultiDict())
            with pytest.raises(ClaimLost):
                await route.answers.left.go_on(name, found, caller)
        assert not retrievals(provider, "")


@pytest.mark.parametrize(
    "error", [LogUnavailable("the log cannot be read"), RuntimeError("a fault")], ids=repr
)
async def test_an_answer_that_waits_is_looked_at_again_after_its_record_could_not_be_read(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(upkeep, "LOOK_S", 0.05)
    failed: list[str] = []

    async def fail(_streams: object, name: str) -> NoReturn:
        failed.append(name)
        raise error

    async with providing() as provider, serving() as gateway:
        name = await left(provider, gateway)
        with monkeypatch.context() as patched:
            patched.setattr(record, "read_record", fail)
            async with model_route(provider, gateway) as route:
                await until(lambda: len(failed) > 2)  # at the start, and at two looks
                patched.undo()
                await until_it_waits(route, name)
                gateway.clock.advance(BACKGROUND_S)
                await until(lambda: route.answers.stored.outcomes["unknown"] == 1)
