"""The gateways that write answers into one log, and which of them run.

Each gateway of a shared log beats every BEAT_S (`features.redis.writers`). The answers of one that
has stopped are ended by those that follow them, by the next request for them, and by the next
gateway that starts. A gateway that has only stood still is refused by the log once its answers are
ended (`shared.claims`). In the log of one process, that process writes all answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Background
from headgate_gateway.errors import HeadgateError
from headgate_gateway.features.models import record
from headgate_gateway.features.redis.store import store_of
from headgate_gateway.features.redis.writers import RedisWriters
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_gateway.features.models.record import EndEntry, RequestEntry
    from headgate_gateway.features.models.streams import AnswerStreams

BEAT_S = 1.0
LATE_S = 3 * BEAT_S  # since the last beat: this gateway beats before it begins an answer


class Gateways(Background):
    """This gateway as one that writes answers, and the others of the same log."""

    def __init__(
        self,
        streams: AnswerStreams,
        finish_abandoned: Callable[[str], Awaitable[object]],
        finish: Callable[[str], Awaitable[object]],
    ) -> None:
        """End answers of stopped gateways by `finish_abandoned`, those lost here by `finish`."""
        self.streams = streams
        store = store_of(streams.route.table.log)
        self._writers = None if store is None else RedisWriters(store)
        self.name = "" if store is None else secrets.token_hex(8)
        self.followed: dict[str, RequestEntry] = {}  # answers that have readers here, by name
        self.unended: set[str] = set()  # answers without an end that nobody writes any more
        self._finish_abandoned = finish_abandoned
        self._finish = finish
        self._beaten_at: float | None = None  # loop time
        # Loop time until which nobody counts as stopped: the log took no beats, of nobody.
        self._excused_until = 0.0

    @override
    def start(self) -> None:
        if self._writers is not None:
            super().start()

    async def close(self) -> None:
        """Note that this gateway writes no answers any more."""
        await self.stop()
        if self._writers is not None:
            with contextlib.suppress(HeadgateError):
                await self._writers.forget(self.name)

    async def writes(self, request: RequestEntry) -> bool:
        """Return whether another gateway writes the answer to a request, as far as is known.

        Raises LogUnavailable.
        """
        writer = request.writer or ""
        if self._writers is None or writer in {"", self.name}:
            return False
        is_excused = asyncio.get_running_loop().time() < self._excused_until
        return is_excused or await self._writers.is_alive(writer)

    async def ensure_alive(self) -> None:
        """Let the others see this gateway before it begins an answer. Raises LogUnavailable."""
        now = asyncio.get_running_loop().time()
        if self._beaten_at is None or now - self._beaten_at > LATE_S:
            await self._beat()

    async def end_of(self, name: str) -> EndEntry | None:
        """Return the end of the last answer of a name, written here if nobody has; else None."""
        await self._finish(name)
        found = await record.read_record(self.streams, name)
        return found.answers[-1].end if found.answers else None

    async def _beat(self) -> None:
        assert self._writers is not None, "the log is shared"
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._writers.beat(self.name)
        except HeadgateError:
            self._excused_until = loop.time() + LATE_S
            raise
        self._beaten_at = began

    @override
    async def _run(self) -> None:
        while True:
            try:
                await self._beat()
                for name, request in list(self.followed.items()):
                    if not await self.writes(request):
                        log.warning("answers.gateway_stopped", stream=self.streams.path(name))
                        await self._finish_abandoned(name)
            except HeadgateError:
                pass  # the log cannot be read, and the next round looks again
            except Exception:  # noqa: BLE001 - the others' readers wait for this
                log.exception("answers.gateways_not_seen", route=self.streams.route.prefix)
            await asyncio.sleep(BEAT_S)
