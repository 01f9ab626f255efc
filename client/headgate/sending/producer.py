"""Appends that are stored once each, however often they have to be sent (section 5.2.1)."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING

from headgate.errors import (
    TOO_MANY_REQUESTS,
    CannotConnect,
    ProducerFenced,
    ProtocolError,
    Unavailable,
)
from headgate.names import PRODUCER_EPOCH
from headgate.stream import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.retries import Retries
    from headgate.stream import Appended, Stream

# For the answer to one attempt; a body gets the time that it takes on a slow line.
ANSWER_TIMEOUT_S = 60.0
SLOWEST_BYTES_S = 50_000
_ID = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Producer:
    """The counter of one writer's appends, numbered from 0 on, one after the other.

    Without a `name` it makes up an id that nobody else has. With one, the epoch has to be new: an
    earlier writer's appends cannot be told from copies of this one's.
    """

    def __init__(self, stream: Stream, retries: Retries, name: str | None, epoch: int) -> None:
        if name is not None and not _ID.fullmatch(name):
            raise ValueError("a producer id is printable ASCII, without blanks around it")
        if epoch < 0:
            raise ValueError("an epoch is 0 or more")
        self.id = name or secrets.token_hex(16)
        self.epoch = epoch
        self._stream = stream
        self._retries = retries
        self._is_made_up = name is None
        self._seq = 0
        # Whether an attempt of this number may have been stored though no answer said so.
        self.is_uncertain = False
        # Whether one has been sent: a 429 may be a proxy's, which had passed it on before.
        self._is_sent = False

    async def append(
        self, body: bytes, *, content_type: str, headers: Mapping[str, str], is_closing: bool
    ) -> Appended:
        """Send an append until it is stored, once; a refused one leaves its number to the next."""
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
                raise Unavailable(f"{self._stream.shown}: no answer in {time_s:.0f} s") from cause
            except Unavailable as refusal:
                if not isinstance(refusal, CannotConnect):
                    self._is_sent = True
                    self.is_uncertain |= refusal.status != TOO_MANY_REQUESTS
                raise

        appended = await self._retries.run(attempt)
        self._check(appended, is_closing=is_closing)
        self._seq += 1
        self.is_uncertain = self._is_sent = False
        return appended

    def _check(self, appended: Appended, *, is_closing: bool) -> None:
        """Raise unless the answer means that it was this append that was stored."""
        shown = self._stream.shown
        if appended.producer_seq is None:
            raise ProtocolError(
                f"{shown}: the server knows no producers, so that nothing could be sent "
                "again: it told no Producer-Seq"
            )
        # What was sent once cannot be known already, unless from somebody else; behind a made-up
        # id there is nobody else, but a proxy that sends again by itself.
        is_anothers = not self._seq and appended.is_duplicate and not self._is_sent
        if appended.producer_seq != self._seq or (is_anothers and not self._is_made_up):
            raise ProducerFenced(
                f"{shown}: producer {self.id} has written in epoch {self.epoch} before: "
                f"take over with epoch {self.epoch + 1}",
                headers={PRODUCER_EPOCH: str(self.epoch)},
                status=403,
            )
        if is_closing and not appended.is_closed:
            raise ProtocolError(f"{shown}: the server did not close the stream")
