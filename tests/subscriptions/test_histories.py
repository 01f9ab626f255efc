"""Histories by chance: subscriptions are as the model says, whatever happens to their streams."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.histories import History
from tests.subscriptions.receivers import receiver, subscribed
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS, PARTS = 80, 4  # of a history; between two parts, the gateway is started again
SEEDS, RESTARTED_SEEDS = (200, 100) if IS_WHOLE else (3, 2)

pytestmark = pytest.mark.timeout(1200)


@contextlib.contextmanager
def told(history: History, seed: int) -> Iterator[None]:
    """Have an error say what was done."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {' '.join(history.done)}") from error


@pytest.mark.parametrize("expires", [False, True], ids=["without-ttl", "with-ttl"])
async def test_a_subscription_follows_streams_and_workers_as_the_model_does(expires: bool) -> None:
    for seed in range(SEEDS):
        async with receiver(answer={"done": True}) as at, subscribed() as gateway:
            history = History(at, seed, expires=expires)
            with told(history, seed):
                await history.begin(gateway)
                await history.play(STEPS)
                await history.finish()


async def test_a_subscription_goes_on_as_the_model_does_when_the_gateway_is_started_again(
    tmp_path: Path,
) -> None:
    for seed in range(RESTARTED_SEEDS):
        async with receiver(answer={"done": True}) as at:
            history = History(at, seed, expires=False)
            for part in range(PARTS):
                async with subscribed(SqliteLog(tmp_path / str(seed))) as gateway:
                    with told(history, seed):
                        await (history.go_on(gateway) if part else history.begin(gateway))
                        await history.play(STEPS // PARTS)
                        if part == PARTS - 1:
                            await history.finish()
