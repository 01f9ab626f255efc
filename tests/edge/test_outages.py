"""The origin is killed, or its connections cut: readers miss nothing and get nothing twice."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import PREFIX, edge, impatient
from tests.edge.resuming import readers
from tests.support.cutting_proxy import CuttingProxy
from tests.support.http1 import ask
from tests.support.origin_servers import OwnLog, Reference, own_log, reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path


pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(240)]

SEED = 4437
TIMEOUT_S = 200.0
PIECE_BYTES = 1000
OF_EACH_KIND = 5


def _pieces(content_type: str, count: int) -> list[bytes]:
    chance = random.Random(SEED)
    if content_type.startswith("text/"):
        return [chance.randbytes(PIECE_BYTES // 2).hex().encode() for _ in range(count)]
    return [chance.randbytes(PIECE_BYTES) for _ in range(count)]


async def _append(port: int, path: str, piece: bytes, content_type: str) -> None:
    answer = await asyncio.to_thread(ask, port, "POST", path, piece, content_type=content_type)
    assert answer.status in {200, 204}, answer


@pytest.mark.smoke
async def test_readers_continue_without_a_gap_after_the_origin_was_killed(tmp_path: Path) -> None:
    path, content_type = f"{PREFIX}/killed", "text/plain"
    pieces = _pieces(content_type, 60)
    origin = OwnLog(f"file:{tmp_path}", long_poll_s=2)
    try:
        origin.start()
        assert ask(origin.port, "PUT", path, content_type=content_type).status == 201
        with edge(origin.url, impatient(5.0)) as gateway:
            async with (
                asyncio.timeout(TIMEOUT_S),
                readers(gateway.url + path, OF_EACH_KIND) as reading,
            ):
                for number, piece in enumerate(pieces, start=1):
                    await _append(origin.port, path, piece, content_type)
                    if number % 20 == 0:  # with some behind, and some at the tail
                        await reading[0].has(number * PIECE_BYTES)
                        origin.kill()
                        await asyncio.to_thread(origin.start)
                assert ask(origin.port, "POST", path, stream_closed="true").status == 204
    finally:
        origin.close()
    for reader in reading:
        assert reader.text == b"".join(pieces), reader.live
        assert reader.live == "long-poll" or not reader.errors


@pytest.mark.parametrize(
    ("origin_of", "content_type"),
    [
        pytest.param(reference, "text/plain", marks=pytest.mark.torture("the others")),
        (reference, "application/octet-stream"),
        (own_log, "text/plain"),
    ],
)
async def test_readers_miss_nothing_when_connections_to_the_origin_are_cut(
    origin_of: Callable[..., AbstractContextManager[Reference | OwnLog]], content_type: str
) -> None:
    path = f"{PREFIX}/cut"
    pieces = _pieces(content_type, 150)
    with origin_of(long_poll_s=2) as origin:
        assert ask(origin.port, "PUT", path, content_type=content_type).status == 201
        async with CuttingProxy(origin.port, seed=SEED, at_most=8 << 10) as proxy:
            with edge(f"http://127.0.0.1:{proxy.port}", impatient(5.0)) as gateway:
                async with (
                    asyncio.timeout(TIMEOUT_S),
                    readers(gateway.url + path, OF_EACH_KIND) as reading,
                ):
                    for number, piece in enumerate(pieces, start=1):
                        await _append(origin.port, path, piece, content_type)
                        if number % 10 == 0:
                            await reading[number % len(reading)].has(number * PIECE_BYTES)
                    closed = ask(origin.port, "POST", path, stream_closed="true")
                    assert closed.status in {200, 204}
            assert proxy.cuts >= 5, proxy
    for reader in reading:
        assert reader.text == b"".join(pieces), reader.live
