"""The clock of an attempt at the moments when it and the body of its request meet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from gateway.origin.attempt import Attempt, OriginRequest
from gateway.origin.servers import OriginServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def body() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


async def test_an_upload_that_continues_after_its_timeout_raises_no_other_error() -> None:
    request = OriginRequest("POST", "/v1/stream/s", CIMultiDict(), body(), 0.0, is_poll=False)
    attempt = Attempt(request, OriginServer("http://o", "/v1/stream"))
    parts = attempt.data
    assert not isinstance(parts, bytes | None)

    async def upload(clock: asyncio.Timeout) -> list[bytes]:
        taken = [await anext(parts)]
        while not clock.expired():
            await asyncio.sleep(0)  # the timer has its turn
        return [*taken, *[part async for part in parts]]

    clock = attempt.start()
    uploading = asyncio.create_task(upload(clock))

    async def wait_for_answer() -> None:
        async with clock:
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait_for_answer()
    assert await uploading == [b"one", b"two"]
    assert attempt.upload_error is None
