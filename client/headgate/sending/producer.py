"""Idempotent appends of one writer: each is stored once, even if it is sent again (5.2.1).

The writer of a stream sends its batches through a `Producer`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING

from headgate.errors import (
    TOO_MANY_REQUESTS,
    Fenced,
    ProtocolError,
    Unavailable,
    check_number,
)
from headgate.names import PRODUCER_EPOCH
from headgate.stream_requests import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.retries import Retries
    from headgate.stream_requests import Appended, StreamRequests

# For the answer to one attempt; a body gets the time that it takes on a slow line.
ANSWER_TIMEOUT_S = 60.0
SLOWEST_BYTES_S = 50_000
_ID = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Producer:
    """The producer id, epoch and sequence number of one writer, whose appends are numbered from 0.

    Without a `name` the id is random. With one, the epoch has to be new: the appends of an earlier
    writer with that id and epoch could not be told apart from copies of this one's.
    """

    def __init__(
        self, stream: StreamRequests, retries: Retries, name: str | None, epoch: int
    ) -> None:
        if name is not None and not _ID.fullmatch(name):
            raise ValueError("a producer id is printable ASCII, without blanks around it")
        check_number("epoch", epoch, is_whole=True)
        self.id = name or secrets.token_hex(16)
        self.epoch = epoch
        self._stream = stream
        self._retries = retries
        self._is_random = name is None
        self._seq = 0
        # True if an attempt with this number may have been stored although no answer confirmed it.
        self.is_uncertain = False
        # True if an attempt was sent. A 429 may come from a proxy that has forwarded it before.
        self._is_sent = False

    async def append(
        self, body: bytes, *, content_type: str, headers: Mapping[str, str], is_closing: bool
    ) -> Appended:
        """Send an append until it is stored; if it is refused, the next one gets its number."""
        stamp = ProducerStamp(self.id, self.epoch, self._seq)
        time_s = ANSWER_TIMEOUT_S + len(body) / SLOWEST_BYTES_S

        async def attempt() -> Appended:
            try:
                async with asyncio.timeout(time_s):
                    return await self._stream.append(
                        body,
                        content_type=content_type,
                        producer=stamp,
                        is_closing=is_closing,
                        headers=headers,
                    )
            except TimeoutError as cause:
                self.is_uncertain = self._is_sent = True
                raise Unavailable(
                    f"no answer in {time_s:.0f} s", stream=self._stream.shown
                ) from cause
            except Unavailable as refusal:
                if not refusal.is_unsent:
                    self._is_sent = True
                    self.is_uncertain |= refusal.status != TOO_MANY_REQUESTS
                raise

        appended = await self._retries.run(attempt)
        self._check(appended, is_closing=is_closing)
        self._seq += 1
        self.is_uncertain = self._is_sent = False
        return appended

    def _check(self, appended: Appended, *, is_closing: bool) -> None:
        """Raise Fenced or ProtocolError unless the answer confirms this very append."""
        shown = self._stream.shown
        if appended.producer_seq is None:
            raise ProtocolError(
                "the server knows no producers, so that nothing could be sent again: it sent no "
                "Producer-Seq",
                stream=shown,
            )
        # A first append that was sent once can be a duplicate only of another writer's. A random id
        # has no other writer, but a proxy may have sent the append twice.
        is_anothers = not self._seq and appended.is_duplicate and not self._is_sent
        if appended.producer_seq != self._seq or (is_anothers and not self._is_random):
            raise Fenced(
                f"producer {self.id} has written in epoch {self.epoch} before: take over with "
                f"epoch {self.epoch + 1}",
                stream=shown,
                headers={PRODUCER_EPOCH: str(self.epoch)},
                status=403,
            )
        if is_closing and not appended.is_closed:
            raise ProtocolError("the server did not close the stream", stream=shown)
