"""The overview of each span, made once for all who look."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from admin.errors import ConsoleError
from admin.model.kinds import SPANS_S
from admin.record.overview import overview

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from admin.model.kinds import Span
    from admin.model.overview import Instance, Overview
    from admin.record.recorder import Recorder
    from gateway.features.questions.process_source import Setup

STALE_S = 1.0  # how old an overview may be that is given to others, too


class _Made(NamedTuple):
    """An overview, as JSON too, and the moment that its figures are of."""

    overview: Overview
    encoded: bytes
    until: float


class Overviews:
    """The last one of each span.

    All of it is made anew after a look, which takes milliseconds; in between only how the instance
    is.
    """

    def __init__(
        self, recorder: Recorder, setup: Setup, instance: Callable[[], Awaitable[Instance]]
    ) -> None:
        self._recorder = recorder
        self._setup = setup
        self._instance = instance
        self._last: dict[Span, _Made] = {}
        self._one_at_a_time = asyncio.Lock()

    async def of(self, span: Span) -> Overview:
        """Return the overview; requests within a second get the same."""
        return (await self._made(span)).overview

    async def as_json(self, span: Span) -> bytes:
        """Return the overview as JSON."""
        return (await self._made(span)).encoded

    async def _made(self, span: Span) -> _Made:
        if span not in SPANS_S:
            raise ConsoleError(400, f"span must be one of {', '.join(SPANS_S)}")
        async with self._one_at_a_time:
            if self._recorder.saw_start:
                with contextlib.suppress(TimeoutError):
                    await self._recorder.look()
                self._last.clear()
            now = self._setup.clock()
            last = self._last.get(span)
            incidents = self._recorder.incidents
            is_fresh = last is not None and 0 <= now - last.overview.taken_at < STALE_S
            if last is not None and is_fresh and last.overview.attention is incidents.attention:
                return last
            instance = await self._instance()
            until = self._recorder.until(now)
            if last is not None and last.until == until:
                view = msgspec.structs.replace(
                    last.overview, taken_at=now, instance=instance, attention=incidents.attention
                )
            else:
                view = overview(self._recorder, self._setup.settings, instance, span, now)
            self._last[span] = made = _Made(view, msgspec.json.encode(view), until)
            return made
