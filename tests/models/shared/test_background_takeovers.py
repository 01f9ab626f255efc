"""Another gateway goes on with a background response whose gateway has stopped."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.models.answers import without_ids
from tests.models.provider import RETRIEVED, providing
from tests.models.serving import OPENAI
from tests.models.shared.gateways import KEY, two_gateways
from tests.models.test_background_restarts import (
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
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp


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


async def test_another_gateway_goes_on_with_an_answer_that_its_caller_retrieves(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        provider.hold()
        provider.allow(SENT)
        with two_gateways(provider, origin) as (one, other):
            url = other.url + await begun(http, one)
            await asyncio.to_thread(one.kill)

            async def waits() -> bool:
                return bool((await record_of(http, url))[-1]["entry"] == "wait")

            await until(waits, within_s=30)
            provider.allow()
            retrieved = f"{other.url}{OPENAI}{RETRIEVED}?stream=true&starting_after=1"
            async with http.get(retrieved, headers=KEY) as again:
                assert without_ids(await again.read()) == b"".join(EVENTS[2:])
            assert await followed(http, url) == WHOLE
    assert retrievals(provider, "sk-mine") == [f"stream=true&starting_after={SENT - 1}"]
