"""Idempotent appends of one writer: each is stored once, even if it is sent again (5.2.1)."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING

from headgate.errors import Conflict, Fenced, ProtocolError, StreamError, Unavailable, check_number
from headgate.names import EXPECTED_SEQ, PRODUCER_EPOCH, not_text
from headgate.stream_requests import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.retries import Retries
    from headgate.stream_requests import Appended, StreamRequests

SLOWEST_BYTES_S = 50_000  # a body gets the time that it takes on a slow line
_ID = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Producer:
    """A producer id, whose appends to a stream are numbered from 0 in each epoch, one at a time.

    Args:
        name: The id, random by default. If it is not, the epoch has to be new: the appends of an
            earlier writer with that id and epoch would look like copies of this one's.
        stands_alone: Whether an append is of use without the one before. Then one that may or may
            not be stored ends the epoch, so that it is not stored after later ones; and on a server
            that knows no producers, an append is repeated only if nothing was sent.
    """

    def __init__(
        self,
        stream: StreamRequests,
        retries: Retries,
        name: str | None = None,
        epoch: int = 0,
        *,
        stands_alone: bool = False,
    ) -> None:
        if not isinstance(name, str | None):
            raise not_text(name, "a producer id is a str")
        if name is not None and not _ID.fullmatch(name):
            raise ValueError(
                f"a producer id is printable ASCII, without blanks around it, not {name[:80]!r}"
            )
        check_number("epoch", epoch, is_whole=True)
        self.id = name or secrets.token_hex(16)
        self.epoch = epoch
        self.turn = asyncio.Lock()  # for callers that take turns
        # True if an attempt with this number may have been stored although no answer confirmed it.
        self.is_uncertain = False
        self._stream = stream
        self._retries = retries
        self._is_random = name is None
        self._stands_alone = stands_alone
        # None: the server has not shown it.
        self._takes_producers: bool | None = None if stands_alone else True
        self.seq = 0  # of the next append

    async def append(
        self, body: bytes, *, content_type: str, headers: Mapping[str, str], is_closing: bool
    ) -> Appended:
        """Send an append until it is stored; if it is refused, the next one gets its number."""
        self.is_uncertain = False
        appended = None
        try:
            while appended is None:
                try:
                    appended = await self._attempt(
                        body, content_type, headers, is_closing=is_closing
                    )
                except Unavailable as refusal:
                    await self._wait(refusal)
                except Conflict as refusal:
                    # Another stream is at the URL, in which this producer has stored nothing.
                    is_new = self.seq and refusal.headers.get(EXPECTED_SEQ) == "0"
                    if not (self._stands_alone and is_new):
                        raise
                    self._begin_epoch()
        finally:
            if self.is_uncertain and self._stands_alone:
                self._begin_epoch()
        self._retries.succeed()
        self.seq += 1
        return appended

    async def _wait(self, refusal: Unavailable) -> None:
        """Wait before the next attempt; raise the refusal where it could be stored twice."""
        if self.is_uncertain and self._takes_producers is None:
            self._takes_producers = (await self._stream.head()).takes_producers or None
        if self.is_uncertain and not self._takes_producers:
            self._retries.reset()
            raise refusal
        await self._retries.wait(refusal)

    async def _attempt(
        self, body: bytes, content_type: str, headers: Mapping[str, str], *, is_closing: bool
    ) -> Appended:
        """Send the append once, and note whether it may be stored after that."""
        may_be_stored, self.is_uncertain = self.is_uncertain, True
        time_s = self._stream.timeout_s + len(body) / SLOWEST_BYTES_S
        stamp = ProducerStamp(self.id, self.epoch, self.seq)
        try:
            async with asyncio.timeout(time_s):
                appended = await self._stream.append(
                    body,
                    content_type=content_type,
                    producer=None if self._takes_producers is False else stamp,
                    is_closing=is_closing,
                    headers=headers,
                )
        except TimeoutError as cause:
            raise Unavailable(f"no answer in {time_s:.0f} s", stream=self._stream.shown) from cause
        except StreamError as error:
            if not isinstance(error, Unavailable) or error.is_unsent:
                self.is_uncertain = may_be_stored
            raise
        self.is_uncertain = False
        self._check(appended, is_closing=is_closing, is_repeated=may_be_stored)
        return appended

    def _check(self, appended: Appended, *, is_closing: bool, is_repeated: bool) -> None:
        """Raise Fenced or ProtocolError unless the answer confirms this very append."""
        shown = self._stream.shown
        if self._stands_alone and self._takes_producers is not False:
            self._takes_producers = appended.producer_seq is not None
        if self._takes_producers and appended.producer_seq is None:
            raise ProtocolError(
                "the server knows no producers, so that nothing could be sent again: it sent no "
                "Producer-Seq",
                stream=shown,
            )
        # A first append that was sent once can be a duplicate only of another writer's. A random id
        # has no other writer, but a proxy may have sent the append twice.
        is_anothers = not (self.seq or self._is_random or is_repeated) and appended.is_duplicate
        if self._takes_producers and (is_anothers or appended.producer_seq != self.seq):
            raise Fenced(
                f"producer {self.id} has written in epoch {self.epoch} before: take over with "
                f"epoch {self.epoch + 1}",
                stream=shown,
                headers={PRODUCER_EPOCH: str(self.epoch)},
                status=403,
            )
        if is_closing and not appended.is_closed:
            raise ProtocolError("the server did not close the stream", stream=shown)

    def _begin_epoch(self) -> None:
        """Begin a new epoch: the server refuses what comes late of an append in the last one."""
        self.epoch += 1
        self.seq = 0
