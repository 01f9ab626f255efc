"""A search of all keys for streams that are not on the list of paths, in small steps, once a day.

It also fills the list where streams are older than the list. One gateway searches for all: it holds
a key that expires a minute after it dies, and then another begins anew. Two searches do no harm.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.redis.connection import Refusal, pack
from gateway.backends.redis.servers.pipeline import Unreachable
from gateway.background import Background
from gateway.errors import LogUnavailable
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.backends.redis.commands import Commands
    from gateway.backends.redis.connection import Packed, Reply
    from gateway.backends.redis.servers.primary import Primary

KEYS = 500  # looked at in one step: a quarter of a millisecond of the server's time
PAUSE_S = 0.005  # between two steps, so that the server has most of its time for others
HELD_S = 60  # that a dead gateway holds the key: ten thousand times as long as a step
RENEWED = 100  # steps after which the key is renewed
DAY_S = 24 * 3600


class PathSearch(Background):
    """The task that puts the streams it finds on the list; it stops between two steps."""

    def __init__(
        self,
        commands: Commands,
        primaries: Callable[[], Iterable[Primary]],
        execute: Callable[..., Awaitable[list[Reply]]],
    ) -> None:
        """Search `primaries`; `execute` takes a key and a call for its server."""
        self._commands = commands
        self._primaries = primaries
        self._execute = execute

    @override
    async def _run(self) -> None:
        while True:
            try:
                if await self._hold(HELD_S, "NX"):
                    await self.search()
                    await self._hold(DAY_S)
            except (LogUnavailable, Unreachable):
                pass  # the log's health shows it
            except Exception:  # noqa: BLE001 - the task must outlive any error
                log.exception("log.paths_not_searched")
            await asyncio.sleep(HELD_S)

    async def _hold(self, seconds: int, *only: str) -> bool:
        """Keep others from searching for `seconds`; with NX, return False if another does."""
        key = self._commands.names.paths_searched
        held = pack("SET", key, self._commands.gateway, "EX", seconds, *only)
        (reply,) = await self._execute(key, held)
        return reply is not None

    async def search(self) -> None:
        """Put every stream of every server on the list. Raises LogUnavailable, Unreachable."""
        for primary in list(self._primaries()):
            cursor, steps = b"0", 0
            while steps == 0 or cursor != b"0":
                cursor = await self._step(primary, cursor)
                steps += 1
                if steps % RENEWED == 0:
                    await self._hold(HELD_S)
                await asyncio.sleep(PAUSE_S)

    async def _step(self, primary: Primary, cursor: bytes) -> bytes:
        """Put the streams among some keys on the list; return the next cursor."""
        (reply,) = await primary.execute(self._scan(cursor))
        if isinstance(reply, Refusal):
            raise LogUnavailable(f"the log refuses: {reply.text}")
        names = self._commands.names
        after, metas = reply
        if metas:
            note = self._commands.add_paths([names.path(meta) for meta in metas])
            await self._execute(names.paths, note)
        assert isinstance(after, bytes), "SCAN tells where it goes on"
        return after

    def _scan(self, cursor: bytes) -> Packed:
        pattern = self._commands.names.all_metas
        return pack("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS, "TYPE", "hash")
