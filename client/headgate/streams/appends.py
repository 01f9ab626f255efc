"""Appends of a client to one stream, each stored at most once and in the order of their calls."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from headgate.errors import Conflict, ProtocolError, StreamError, Unavailable
from headgate.names import EXPECTED_SEQ
from headgate.stream_requests import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headgate.stream_requests import Appended, StreamRequests

    Send = Callable[[ProducerStamp | None], Awaitable[Appended]]


class Appends:
    """The producer of a client for one stream: one append at a time, numbered from 0 (5.2.1).

    An append is repeated while that cannot store it twice: always where the server knows producers,
    else only if nothing was sent. An append that may or may not be stored ends the producer's
    epoch, so that it is not stored after later ones.

    Args:
        requests: The requests to the stream.
        pause: Waits before a repetition; raises the refusal if there is to be none.
    """

    def __init__(
        self,
        requests: StreamRequests,
        pause: Callable[[int, Unavailable], Awaitable[None]],
    ) -> None:
        self._requests = requests
        self._pause = pause
        self._id = secrets.token_hex(16)
        self._epoch = self._seq = 0
        self._takes_producers: bool | None = None  # None: the server has not shown it
        self._is_uncertain = False  # whether the present append may be stored
        self.turn = asyncio.Lock()

    @property
    def is_busy(self) -> bool:
        """True while an append is under way."""
        return self.turn.locked()

    async def append(
        self,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str],
        *,
        is_closing: bool = False,
    ) -> Appended:
        """Append a body, while the caller has the `turn`.

        Raises Unavailable if it is not known whether it is stored.
        """

        async def send(stamp: ProducerStamp | None) -> Appended:
            return await self._requests.append(
                body,
                content_type=content_type,
                producer=stamp,
                is_closing=is_closing,
                headers=headers,
            )

        self._is_uncertain = False
        try:
            return await self._store(send)
        finally:
            if self._is_uncertain:
                self._begin_epoch()

    async def _store(self, send: Send) -> Appended:
        failures = 0
        while True:
            try:
                return await self._send_once(send)
            except Unavailable as refusal:
                if self._is_uncertain and not await self._deduplicates():
                    raise
                await self._pause(failures, refusal)
                failures += 1
            except Conflict as refusal:
                # Another stream is at the URL, in which this producer has stored nothing.
                if not self._seq or refusal.headers.get(EXPECTED_SEQ) != "0":
                    raise
                self._begin_epoch()

    async def _send_once(self, send: Send) -> Appended:
        """Make one attempt, and note whether the append may be stored after it."""
        may_be_stored, self._is_uncertain = self._is_uncertain, True
        stamp = ProducerStamp(self._id, self._epoch, self._seq)
        try:
            appended = await send(None if self._takes_producers is False else stamp)
        except StreamError as error:
            if not isinstance(error, Unavailable) or error.is_unsent:
                self._is_uncertain = may_be_stored
            raise
        self._is_uncertain = False
        if self._takes_producers is not False:
            self._takes_producers = appended.producer_seq is not None
        if self._takes_producers and appended.producer_seq != self._seq:
            raise ProtocolError(
                f"the server confirms number {appended.producer_seq} of this client's appends, "
                f"and {self._seq} was sent",
                stream=self._requests.shown,
            )
        self._seq += 1
        return appended

    async def _deduplicates(self) -> bool:
        """Return whether the server stores an append once that is sent twice."""
        if self._takes_producers is None and (await self._requests.head()).takes_producers:
            self._takes_producers = True
        return self._takes_producers is True

    def _begin_epoch(self) -> None:
        """Begin a new epoch: the server refuses what comes late of an append in the last one."""
        self._epoch += 1
        self._seq = 0
