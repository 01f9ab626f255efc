"""JSON items through the TypeScript client's producer and back through its iteration."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from tests.clients.token_writer import create_stream
from tests.clients.unicode_text import make_text
from tests.support.cutting_proxy import CuttingProxy
from tests.support.examples import cases
from tests.support.processes import headgate
from tests.support.unmodified_clients import run_client_script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEED = 4438
ITEMS = 2500
MIN_CUTS = 5
# The producer keeps up to five requests in flight, so many connections end with bytes to spare.
FIRST_CUT_BYTES = 4 << 10


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("mode", ["long-poll", "sse"])
@pytest.mark.parametrize("scheme", cases(["memory", "file"], {"file"}, "a file"))
async def test_the_typescript_producer_stores_each_item_once_over_cut_connections(
    scheme: str, mode: str, tmp_path: Path
) -> None:
    items = make_items()
    source, copy = tmp_path / "items.json", tmp_path / "copy.json"
    source.write_text(json.dumps(items), encoding="utf-8")
    with headgate("memory:" if scheme == "memory" else f"file:{tmp_path / 'log'}") as server:
        url = f"{server.streams}/items"
        await create_stream(url, "application/json")
        async with CuttingProxy(server.port, seed=SEED, at_most=FIRST_CUT_BYTES) as proxy:
            report = await run_client_script(
                *("json", f"http://127.0.0.1:{proxy.port}/v1/stream/items", url),
                *(mode, str(source), str(copy)),
            )
    assert report["errors"] == []
    assert json.loads(copy.read_text(encoding="utf-8")) == items, proxy
    assert report["closed"] is True
    assert report["requests"].keys() == {"catch-up", mode}
    assert proxy.cuts >= MIN_CUTS, proxy
    assert report["repeats"] >= 1, proxy


def make_items() -> list[object]:
    """Objects and bare values, with every kind of JSON value and an empty array among them."""
    chance = random.Random(SEED)
    words = make_text(SEED, 100_000).split(" ")
    kinds: tuple[Callable[[], object], ...] = (
        lambda: {"text": chance.choice(words), "n": chance.randint(-(2**53), 2**53), "x": {}},
        lambda: [chance.random(), [], {"nested": [None, True, chance.choice(words)]}],
        lambda: chance.choice(words),
        lambda: chance.choice([None, False, 0, "", [], {}]),
    )
    return [chance.choice(kinds)() for _ in range(ITEMS)]
