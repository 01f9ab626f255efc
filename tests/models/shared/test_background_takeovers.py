"""Another gateway goes on with a background response whose gateway has stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.models.answers import without_ids
from tests.models.provider import RETRIEVED, providing
from tests.models.serving import OPENAI
from tests.models.shared.gateways import KEY, RESPONSES, ask, events_from, two_gateways
from tests.models.test_background_restarts import (
    BODY,
    EVENTS,
    OWN_KEY,
    SENT,
    WHOLE,
    begun,
    followed,
    key_file,
    record_of,
    retrievals,
)
from tests.models.tokens import TOKENS, guarded, tokens_file
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

pytestmark = pytest.mark.usefixtures("processes")


@pytest.mark.parametrize("stop", ["SIGTERM", "SIGKILL", "SIGSTOP"])
async def test_another_gateway_goes_on_with_an_answer_with_the_key_of_the_gateways(
    http: aiohttp.ClientSession, origin: str, tmp_path: Path, stop: str
) -> None:
    async with providing() as provider:
        provider.hold()
        provider.allow(SENT)
        settings = {"key_file": str(key_file(tmp_path))}
        with two_gateways(provider, origin, settings) as (one, other):
            url = other.url + await begun(http, one)
            assert one.process is not None
            one.process.send_signal(signal.Signals[stop])
            await until(lambda: len(provider.requests) == 2, within_s=30)
            if stop == "SIGSTOP":
                one.process.send_signal(signal.SIGCONT)
            provider.allow()
            assert await followed(http, url) == WHOLE
            entries = await record_of(http, url)
            assert [it["entry"] for it in entries][-2:] == ["resume", "end"]
            assert entries[-1]["outcome"] == "complete"
    assert retrievals(provider, OWN_KEY) == [f"stream=true&starting_after={SENT - 1}"]


@pytest.mark.parametrize("is_followed", [False, True], ids=["not followed", "followed"])
async def test_another_gateway_goes_on_with_an_answer_that_its_caller_retrieves(
    http: aiohttp.ClientSession, origin: str, is_followed: bool
) -> None:
    async with providing() as provider, contextlib.AsyncExitStack() as readers:
        provider.hold()
        provider.allow(SENT)
        with two_gateways(provider, origin) as (one, other):
            url = other.url + await begun(http, one)
            rest = f"{other.url}{OPENAI}{RETRIEVED}?stream=true&starting_after=1"
            joined = None
            if is_followed:
                joined = await readers.enter_async_context(http.get(rest, headers=KEY))
            await asyncio.to_thread(one.kill)

            async def waits() -> bool:
                return bool((await record_of(http, url))[-1]["entry"] == "wait")

            await until(waits, within_s=30)
            provider.allow()
            async with http.get(rest, headers=KEY) as again:
                assert without_ids(await again.read()) == b"".join(EVENTS[2:])
            if joined is not None:
                assert without_ids(await joined.read()) == b"".join(EVENTS[2:])
            assert await followed(http, url) == WHOLE
    assert retrievals(provider, "sk-mine") == [f"stream=true&starting_after={SENT - 1}"]


async def test_deleting_an_answer_that_was_followed_stops_the_call_of_the_gateway_that_took_it(
    http: aiohttp.ClientSession, origin: str, tmp_path: Path
) -> None:
    settings, environment = guarded(tmp_path, has_key=True), tokens_file(tmp_path)
    request: Any = {"path": RESPONSES, "body": BODY, "Authorization": f"Bearer {TOKENS['caller']}"}
    async with providing() as provider:
        provider.hold()
        provider.allow(SENT)
        with two_gateways(provider, origin, settings, environment) as (one, other):
            async with ask(http, one, **request) as answer:
                await events_from(answer, SENT)
                async with ask(http, other, **request) as joined:
                    await asyncio.to_thread(one.kill)
                    await until(lambda: len(provider.requests) == 2, within_s=30)
                    assert provider.left == 1
                    async with http.delete(joined.headers["Stream-URL"]) as deleted:
                        assert deleted.status == 204
                    await until(lambda: provider.left == 2)
                    assert b"was deleted" in await joined.read()
