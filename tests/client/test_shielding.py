"""Work that goes on when who waits for it leaves."""

from __future__ import annotations

import asyncio

import pytest

from headgate.shielding import shielded
from tests.support.gated_log import turns


@pytest.mark.parametrize("fails", [False, True])
async def test_work_ends_for_who_still_waits_and_is_no_error_for_who_has_left(fails: bool) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    work: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        return await shielded(work)

    leaving, staying = asyncio.create_task(wait()), asyncio.create_task(wait())
    await turns()
    leaving.cancel()
    await turns()
    assert leaving.cancelled()
    assert not work.done()
    if fails:
        work.set_exception(OSError("away"))
        with pytest.raises(OSError, match="away"):
            await staying
    else:
        work.set_result("done")
        assert (await staying, await wait()) == ("done", "done")
    assert complaints == []


async def test_work_that_is_cancelled_cancels_who_waits() -> None:
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = shielded(work)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
