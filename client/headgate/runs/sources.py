"""Sources of runs: iterators, and the objects of SDKs that give one."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from typing_extensions import override

from headgate.dialects.parts import NotAnItem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class StreamsEvents(Protocol):
    """A run of OpenAI Agents, as `Runner.run_streamed()` returns it."""

    def stream_events(self) -> AsyncIterator[Any]:
        """Yield the events of the run."""

    def cancel(self) -> None:
        """Stop the agent, and whatever it waits for."""


RunSource: TypeAlias = (
    AsyncIterable[object] | AbstractAsyncContextManager[AsyncIterable[object]] | StreamsEvents
)
"""The source of a run: an async iterator, or what gives one.

- An async iterator of text, of JSON values, or of events of SDKs.
- An async context manager that gives one, as `run_stream_events()` of PydanticAI. It is entered
  with the first item, and left with the run.
- `Runner.run_streamed(...)` of OpenAI Agents. The agent is cancelled where the run ends before it.
"""


def iterator_of(source: object) -> AsyncIterator[object]:
    """Return the iterator of a run's source. Raises TypeError for what gives none."""
    if isinstance(source, AsyncIterable):
        return aiter(source)
    if not isinstance(source, type):
        if callable(getattr(source, "stream_events", None)):
            return _AgentEvents(cast("StreamsEvents", source))
        if isinstance(source, AbstractAsyncContextManager):
            return _entered(source)
    if inspect.iscoroutine(source):
        source.close()
    raise TypeError(
        "a run takes an async iterator, an async context manager that gives one, or "
        f"Runner.run_streamed(...) of OpenAI Agents, not {type(source).__name__}: pass source() of "
        "an `async def source()` with yield; for one without async there is headgate.sync"
    )


class _AgentEvents(AsyncIterator[object]):
    """The events of an agent that works on by itself, until this is closed."""

    def __init__(self, run: StreamsEvents) -> None:
        self._run = run
        self._events = self._read()
        self._has_ended = False

    @override
    async def __anext__(self) -> object:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Cancel the agent, unless it has ended: otherwise it would go on and call its tools."""
        if not self._has_ended:
            self._run.cancel()
        await self._events.aclose()

    async def _read(self) -> AsyncGenerator[object]:
        events: Any = self._run.stream_events()
        async with aclosing(events):
            async for event in events:
                yield event
        self._has_ended = True
        # The calls that wait for an approval are in no event.
        for call in getattr(self._run, "interruptions", ()):
            yield call


async def _entered(
    manager: AbstractAsyncContextManager[AsyncIterable[object]],
) -> AsyncGenerator[object]:
    async with manager as source:
        if not isinstance(source, AsyncIterable):
            raise NotAnItem(not_iterable(source))
        async for value in source:
            yield value


def not_iterable(value: object) -> str:
    """Return the sentence that refuses what a context manager gave."""
    kind = type(value).__name__
    instead = (
        ": yield what its stream_text(delta=True) gives" if hasattr(value, "stream_text") else ""
    )
    return f"the source is a context manager that gave a {kind}, which is not an iterator{instead}"
