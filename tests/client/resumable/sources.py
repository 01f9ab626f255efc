"""Sources whose next step is the test's to say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


class Tap:
    """A source that gives what the test gives it; calling it is `make_source`."""

    def __init__(self) -> None:
        self._steps: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self.calls = 0
        self.is_over = False

    async def __call__(self) -> AsyncGenerator[str, None]:
        self.calls += 1
        try:
            while (step := await self._steps.get()) is not None:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.is_over = True

    def give(self, *chunks: str) -> None:
        for chunk in chunks:
            self._steps.put_nowait(chunk)

    def end(self, error: BaseException | None = None) -> None:
        self._steps.put_nowait(error)


async def chunks(*given: str) -> AsyncIterator[str]:
    """A source that has everything at once."""
    for chunk in given:
        yield chunk


async def whole(text: AsyncIterator[str] | None) -> str:
    """All that a reader gets."""
    assert text is not None, "there is nothing to read"
    return "".join([chunk async for chunk in text])
