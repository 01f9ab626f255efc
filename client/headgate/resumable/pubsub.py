"""Streams passed on through a broker's messages: nothing of their text is stored there."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.errors import StreamExists, Unavailable
from headgate.resumable.listener import Listener
from headgate.resumable.names import DONE, IN_USE, LOST, PREFIX, Names
from headgate.resumable.production import StreamProduction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from headgate.resumable.contract import Broker, MakeSource, State, Text
    from headgate.resumable.productions import Productions

WITHDRAW_WITHIN_S = 1.0  # whoever was refused a stream, or has gone, waits for this


@dataclass(frozen=True, slots=True)
class PubSubSettings:
    """The times in seconds and the buffer size in bytes of the pub/sub backplane."""

    sentinel_ttl: float
    resume_timeout: float
    max_buffer_bytes: int
    prefix: str = PREFIX


class PubSub:
    """A Backplane whose producer keeps the text, and sends it to the readers that request it."""

    def __init__(
        self,
        broker: Broker,
        settings: PubSubSettings,
        productions: Productions,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`close` ends what of the broker was opened here."""
        self._broker = broker
        self._close = close
        self._settings = settings
        self._productions = productions

    async def resumable(
        self, stream_id: str, make_source: MakeSource, resume_at: int
    ) -> Text | None:
        """Create the stream, or resume it; None once it is done."""
        names = self._names(stream_id)
        with _explained():
            count = await self._count(names)
            if count is None:
                return await self.resume(stream_id, resume_at)
            if count > 1:
                return await self._resumed(names, resume_at)
            return await self._created(names, make_source)

    async def create(self, stream_id: str, make_source: MakeSource) -> Text:
        """Create the stream. Raises StreamExists while its sentinel is kept."""
        names = self._names(stream_id)
        with _explained():
            if await self._count(names) != 1:
                raise StreamExists(f"there is, or was until lately, a stream {stream_id!r}")
            return await self._created(names, make_source)

    async def resume(self, stream_id: str, resume_at: int) -> Text | None:
        """Read a stream that is being produced, or None."""
        state = await self.state(stream_id)
        if state not in {"active", "lost"}:
            return None
        names = self._names(stream_id)
        with _explained():
            text = await self._resumed(names, resume_at)
        if text is not None and state == "lost":  # its producer was only held up
            with contextlib.suppress(OSError):
                await self._broker.publisher.set(
                    names.sentinel, IN_USE, self._settings.sentinel_ttl
                )
        return text

    async def state(self, stream_id: str) -> State | None:
        """Return the state of the stream according to its sentinel."""
        with _explained():
            value = await self._broker.publisher.get(self._names(stream_id).sentinel)
        if value is None:
            return None
        return "done" if value == DONE else "lost" if value == LOST else "active"

    async def aclose(self) -> None:
        """Close the connections of this event loop, unless they are somebody else's."""
        if self._close is not None:
            await self._close()

    def _names(self, stream_id: str) -> Names:
        return Names(stream_id, self._settings.prefix)

    async def _count(self, names: Names) -> int | None:
        """Count up the sentinel; who is cancelled in the midst of it does not keep the id."""
        counting = asyncio.ensure_future(self._broker.publisher.incr(names.sentinel))
        try:
            return await asyncio.shield(counting)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):  # also a TimeoutError
                async with asyncio.timeout(WITHDRAW_WITHIN_S):
                    is_first = await counting == 1
                if is_first:
                    await self._withdraw(names)
            raise

    async def _created(self, names: Names, make_source: MakeSource) -> Text:
        settings = self._settings
        production = StreamProduction(
            names,
            self._broker,
            settings.sentinel_ttl,
            settings.max_buffer_bytes,
            self._productions.failure_text,
        )
        try:
            await production.open()
        except BaseException:  # also a cancellation: nobody is going to produce it
            with contextlib.suppress(OSError):  # also a TimeoutError
                async with asyncio.timeout(WITHDRAW_WITHIN_S):
                    await self._broker.subscriber.unsubscribe(names.requests)
            await self._withdraw(names)
            raise
        self._productions.start(production.run(make_source))
        return production.read()

    async def _withdraw(self, names: Names) -> None:
        """Free the id again, unless the broker is away."""
        with contextlib.suppress(OSError):  # also a TimeoutError
            async with asyncio.timeout(WITHDRAW_WITHIN_S):
                await self._broker.publisher.expire(names.sentinel, 0)

    async def _resumed(self, names: Names, resume_at: int) -> Text | None:
        listener = Listener(names, self._broker, resume_at, self._settings.sentinel_ttl)
        text = await listener.answered(self._settings.resume_timeout)
        if text is None:  # its producer has died, or is held up and will take this back
            await self._broker.publisher.expire(names.sentinel, self._settings.sentinel_ttl)
        return text


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the broker of resumable streams is away: {error}") from error
