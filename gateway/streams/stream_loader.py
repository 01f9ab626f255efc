"""Loads streams from a log; what is remembered of a shared log's stream is confirmed instead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.streams.versions import is_same

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.contract import Loaded, Log
    from gateway.protocol.state import StreamState
    from gateway.streams.active_stream import ActiveStream


class StreamLoader:
    """Loads of one log's streams; equal ones share one look-up."""

    def __init__(
        self,
        log: Log,
        take: Callable[[ActiveStream, Loaded], None],
        forget: Callable[[ActiveStream], None],
    ) -> None:
        """`take` is given what was found, `forget` a stream that is not as it is remembered."""
        self._log = log
        self._take = take
        self._forget = forget

    async def load(self, active: ActiveStream) -> ActiveStream:
        """The stream as it stands now, whoever changed it.

        Of a shared log nothing counts that was asked before this call: the answer may be older
        than a change that the caller knows of.
        """
        asked = active.asked
        while True:
            state = active.state
            if active.told > asked and (state is not None or active.absent):
                return active
            if state is None:
                await asyncio.shield(self._begin_loading(active))
                if active.absent and not self._log.shared:
                    return active
            elif not self._log.shared or await self._is_confirmed(active, state):
                return active

    def begin(self, active: ActiveStream) -> asyncio.Task[ActiveStream] | asyncio.Task[None]:
        """Load a stream of which nothing is known, for whoever goes on when that is done."""
        if self._log.shared:
            return asyncio.get_running_loop().create_task(self.load(active))
        return self._begin_loading(active)

    async def _is_confirmed(self, active: ActiveStream, state: StreamState) -> bool:
        """Whether what is remembered is what stands now; else it is forgotten."""
        if await self._log.is_current(state):
            return active.state is not None  # or it was forgotten meanwhile
        if is_same(active.state, state):
            self._forget(active)
        return False

    def _begin_loading(self, active: ActiveStream) -> asyncio.Task[None]:
        if active.loading is None or active.loading.done():
            active.loading = asyncio.get_running_loop().create_task(self._load(active))
        return active.loading

    async def _load(self, active: ActiveStream) -> None:
        try:
            while active.state is None:
                active.asked += 1
                revision, question = active.revision, active.asked
                loaded = await self._log.load(active.path)
                if active.revision == revision:  # else a commit or a lost race has overtaken it
                    active.told = question
                    self._take(active, loaded)
                    return
        finally:
            active.loading = None
