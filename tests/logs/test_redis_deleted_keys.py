"""Keys that somebody deletes by hand, of which no gateway is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from headgate_gateway.streams.reads import SURE_S
from tests.logs.contract import redis_log
from tests.support.serving import get, post, put, serving

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.names import RedisNames
    from tests.support.http1 import Answer
    from tests.support.redis_servers import RedisServer
    from tests.support.serving import Serving

FIRST = get("s?offset=-1")
PIECE = CHUNK_BYTES // 4


async def write(gateway: Serving, letter: bytes) -> None:
    """A new stream that has more than a whole chunk."""
    assert (await gateway.ask(put("s"))).status == 201
    for _ in range(6):
        assert (await gateway.ask(post("s", letter * PIECE))).status == 204


def is_hit(answer: Answer) -> bool:
    return "; hit" in str(answer.get("Cache-Status"))


@pytest.mark.parametrize("begun_anew", [False, True])
async def test_a_cached_chunk_of_deleted_keys_is_read_again_after_a_while(
    server: RedisServer, names: RedisNames, *, begun_anew: bool
) -> None:
    async with (
        serving(redis_log(names.prefix)) as gateway,
        serving(redis_log(names.prefix)) as other,
    ):
        await write(gateway, b"x")
        assert not is_hit(await gateway.ask(FIRST))
        kept = await gateway.ask(FIRST)
        assert is_hit(kept)
        server.command("DEL", *names.keys("s"))
        if begun_anew:
            await write(other, b"y")
        gateway.clock.advance(SURE_S + 1)
        found = await gateway.ask(FIRST)
        if begun_anew:
            assert (found.status, set(found.body)) == (200, {ord("y")})
            following = await gateway.ask(get(f"s?offset={found.get('Stream-Next-Offset')}"))
            assert (following.status, set(following.body)) == (200, {ord("y")})
        else:
            assert found.status == 404


async def test_chunks_of_existing_keys_stay_cached(server: RedisServer, names: RedisNames) -> None:
    async with serving(redis_log(names.prefix)) as gateway:
        await write(gateway, b"x")
        kept = await gateway.ask(FIRST)
        for _ in range(3):
            gateway.clock.advance(SURE_S + 1)
            found = await gateway.ask(FIRST)
            assert is_hit(found)
            assert found.body == kept.body
