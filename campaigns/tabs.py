"""Tabs of one browser that are opened, loaded anew, closed, frozen, killed and hung at random.

`python -m campaigns.tabs` plays it. Meanwhile they follow one run by the npm package, and
in the end each has every item once and in order, and there was one connection most of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from campaigns.seeds import seeded
from headgate.runs import Runs
from tests.client.js.site import Site, Tab, chromium, following
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from playwright.async_api import BrowserContext

TABS = 6  # at most, and two at least
PAUSE_S = 0.3  # between two acts, on average
ITEMS_A_SECOND = 200
RUN = "story"


class Play:
    """The tabs, and what is done to them."""

    def __init__(self, site: Site, window: BrowserContext) -> None:
        self._site = site
        self._window = window
        self._awake: list[Tab] = []
        self._frozen: list[Tab] = []
        self.acts: Counter[str] = Counter()

    async def act(self) -> None:
        """Do something to a tab; most likely to the one that has waited longest for the lock."""
        act = random.choice(self._acts()) if len(self._awake) > 1 else self.open
        self.acts[act.__name__] += 1
        await act()

    async def open(self) -> None:
        """Open one more."""
        self._awake.append(await Tab.open(self._window, self._site, following(f"/runs/{RUN}")))

    async def reload(self) -> None:
        """Load one anew."""
        await self._any().page.reload()

    async def close(self) -> None:
        """Close one."""
        await self._taken().page.close()

    async def freeze(self) -> None:
        """Freeze one."""
        tab = self._taken()
        await tab.set_state("frozen")
        self._frozen.append(tab)

    async def thaw(self) -> None:
        """Have a frozen one go on."""
        tab = self._frozen.pop(0)
        await tab.set_state("active")
        self._awake.append(tab)

    async def kill(self) -> None:
        """Kill the process of one."""
        tab = self._taken()
        await tab.crash()
        await tab.page.close()

    async def hang(self) -> None:
        """Have one do nothing for longer than it may be silent."""
        await self._any().hang()
        await asyncio.sleep(7)
        self._site.answers.set()
        self._site.answers.clear()

    async def all_told(self, count: int) -> list[list[int]]:
        """Return what each tab has when there are so many items."""
        while self._frozen:
            await self.thaw()
        for tab in self._awake:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tab.page.evaluate("received('ends', 1)"), 30)
        pages = [await tab.page.evaluate("[items, refusals]") for tab in self._awake]
        for items, refusals in pages:
            if items != [*range(count)]:
                sys.stdout.write(f"{items} {refusals}\n")
        return [items for items, _ in pages]

    def _acts(self) -> list[Callable[[], Coroutine[object, object, None]]]:
        acts = [self.reload, self.close, self.freeze, self.kill]
        if random.random() < 0.1:
            acts = [self.hang]
        if self._frozen:
            acts.append(self.thaw)
        if len(self._awake) + len(self._frozen) < TABS:
            acts += [self.open] * 3
        return acts

    def _any(self) -> Tab:
        return self._awake[min(int(random.expovariate(1)), len(self._awake) - 1)]

    def _taken(self) -> Tab:
        tab = self._any()
        self._awake.remove(tab)
        return tab


async def play(seconds: float) -> int:
    """Play for so long; how many tabs lack an item or have one twice."""
    with headgate() as server:
        runs = Runs(f"{server.streams}/campaign")
        async with Site(runs).served() as site, chromium() as window:
            feed = await site.start(RUN)
            game, count, ends_at = Play(site, window), 0, time.monotonic() + seconds

            async def tell() -> None:
                nonlocal count
                while True:
                    await asyncio.sleep(random.random() * 2 / ITEMS_A_SECOND)
                    feed.give(count)
                    count += 1

            telling = asyncio.create_task(tell())
            while time.monotonic() < ends_at:
                await game.act()
                await asyncio.sleep(random.expovariate(1 / PAUSE_S))
            telling.cancel()
            feed.end()
            told = await game.all_told(count)
            wrong = sum(items != [*range(count)] for items in told)
            sys.stdout.write(
                f"{count} items, {dict(game.acts)}, {site.requests} requests\n"
                f"{len(told)} tabs, of which {wrong} lack an item or have one twice\n"
            )
        await runs.aclose(wait=0)
    return wrong


def main() -> int:
    """Play it; 1 when an item was lost or came twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    options = seeded(parser)
    return int(asyncio.run(play(options.seconds)) > 0)


if __name__ == "__main__":
    sys.exit(main())
