"""The writer of a producer's items: in batches, under the epoch that it claimed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.names import PRODUCER
from headgate.sending.framing import JSON
from headgate.sending.writer import StreamWriter
from headgate.stream_requests import StreamRequests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.stream_requests import Appended, Metadata, ProducerStamp


class _Claimed(StreamRequests):
    """The stream behind a claim, which was the first append of its epoch.

    A writer numbers its appends from 0. Under an epoch of its own it could not tell whether the
    append 0 that the server has is its own or that of another claim.
    """

    @override
    async def append(
        self,
        body: bytes,
        *,
        content_type: str | None = None,
        producer: ProducerStamp | None = None,
        is_closing: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Appended:
        """Append with the next greater number."""
        appended = await super().append(
            body,
            content_type=content_type,
            producer=None if producer is None else replace(producer, seq=producer.seq + 1),
            is_closing=is_closing,
            headers=headers,
        )
        known = appended.producer_seq
        return replace(appended, producer_seq=None if known is None else known - 1)


def output(
    stream: StreamRequests, metadata: Metadata, epoch: int, retry_for_s: float
) -> StreamWriter:
    """Return a writer of items under the claim of this epoch."""
    claimed = _Claimed(stream.url, authorization=stream.authorization, session=stream.session)
    return StreamWriter(
        claimed,
        content_type=JSON,
        metadata=metadata,
        producer_id=PRODUCER,
        epoch=epoch,
        retry_for=retry_for_s,
    )
