"""Histories by chance that go on in another log: subscriptions are as the model says there, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.copied import copied
from tests.subscriptions.histories import History
from tests.subscriptions.receivers import log_at, receiver, subscribed
from tests.subscriptions.test_histories import told
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from gateway.logs.contract import Log
    from tests.subscriptions.receivers import Subscribed
    from tests.support.redis_servers import RedisServer

STEPS = 25  # in each log
SEEDS = 20 if IS_WHOLE else 5

pytestmark = pytest.mark.timeout(1200)


class CopiedHistory(History):
    """A history whose log is copied to another one, in which it goes on."""

    async def go_on_in_copy(self, gateway: Subscribed) -> None:
        """Go on in a copy: leases stay behind, and a fork is a stream of its own."""
        for name in self.model.subscriptions:
            self._over(name)
        for path, stream in self.model.streams.items():
            if stream.is_fork:
                stream.is_fork = False
                stream.offsets.insert(0, f"{stream.offsets[0].partition('_')[0]}_{0:016}")
                self._skip_what_was_inherited(path)
        self.done.append("copied")
        await self.go_on(gateway)

    def _skip_what_was_inherited(self, path: str) -> None:
        for one in self.model.subscriptions.values():
            if (link := one.links.get(path)) is not None:
                link.recreated = link.recreated and link.acked > 0
                link.acked, link.counts = link.acked + 1, True


class UnforkedHistory(CopiedHistory):
    """A history without forks, whose first offsets in Redis are those of their sources."""

    @override
    async def _fork(self) -> None:
        await self._append()


class GrowingHistory(UnforkedHistory):
    """A history in which nothing is deleted: copies of what was deleted stay where they are."""

    @override
    async def _delete(self) -> None:
        await self._append()

    @override
    async def _unsubscribe(self) -> None:
        await self._append()


def log_of(origin: str) -> Log:
    """Return the log of an origin."""
    is_file = origin.startswith("file:")
    return SqliteLog(Path(origin.removeprefix("file:"))) if is_file else log_at(origin)


@pytest.mark.parametrize("with_redis", [False, True], ids=["files", "redis-between-files"])
async def test_a_subscription_goes_on_as_the_model_does_in_copies_of_its_log(
    tmp_path: Path, redis: RedisServer, capfd: pytest.CaptureFixture[str], *, with_redis: bool
) -> None:
    kind = UnforkedHistory if with_redis else CopiedHistory
    for seed in range(SEEDS):
        first, second, third = (f"file:{tmp_path / f'{seed}{name}'}" for name in "abc")
        places = [first, f"{redis.url}?prefix=copied-{seed}" if with_redis else second, third]
        async with receiver(answer={"done": True}) as at:
            history = kind(at, seed, expires=False)
            with told(history, seed):
                for number, place in enumerate(places):
                    if number:
                        refused = await copied(places[number - 1], place)
                        assert not refused, capfd.readouterr().err
                    async with subscribed(log_of(place)) as gateway:
                        await (history.go_on_in_copy(gateway) if number else history.begin(gateway))
                        await history.play(STEPS)
                        if place is third:
                            await history.finish()


async def test_a_subscription_goes_on_as_the_model_does_when_its_log_in_use_was_copied_repeatedly(
    tmp_path: Path, redis: RedisServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for seed in range(SEEDS):
        source = f"{redis.url}?prefix=in-use-{seed}"
        target = f"file:{tmp_path / str(seed)}"
        async with receiver(answer={"done": True}) as at:
            history = GrowingHistory(at, seed, expires=False)
            with told(history, seed):
                async with subscribed(log_at(source)) as gateway:
                    await history.begin(gateway)
                    for _ in range(3):
                        await history.play(STEPS // 2)
                        assert not await copied(source, target), capfd.readouterr().err
                assert not await copied(source, target), capfd.readouterr().err
                async with subscribed(log_of(target)) as gateway:
                    await history.go_on_in_copy(gateway)
                    await history.play(STEPS)
                    await history.finish()
