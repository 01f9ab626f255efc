"""Background responses that a gateway has left, and that their provider goes on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate.dialects.progress import EarlyEnd
from headgate.events import events_of

from gateway.features.models.streams import MOST_RESUMPTIONS

if TYPE_CHECKING:
    from headgate.dialects.progress import AnswerProgress, Cursor

    from gateway.features.models.record import (
        AnswerRecord,
        RequestEntry,
        ResponseEntry,
        StreamRecord,
    )

from gateway.features.models.streams import AnswerStreams, StreamEnd

# OpenAI stores the data of a background response for roughly 10 minutes; a later request may find
# nothing (https://developers.openai.com/docs/guides/background).
BACKGROUND_S = 600.0
NOT_KNOWN = EarlyEnd(
    "end_not_known",
    "the gateway stopped in the middle of the answer, and the rest was not retrieved in time:"
    " its end is not known",
)


class UnfinishedAnswer(NamedTuple):
    """A background response without its last event: its id, and the progress up to the tail."""

    last: AnswerRecord
    head: ResponseEntry
    response_id: str
    latest: Cursor  # of the last event
    progress: AnswerProgress
    end: StreamEnd

    @property
    def size(self) -> int:
        """The bytes of the events."""
        return self.end.tail - self.last.request.position


def may_go_on(request: RequestEntry) -> bool:
    """Return whether a provider goes on with the answer to a request without a connection."""
    if not request.in_background or request.is_whole or request.is_plain:
        return False
    return request.dialect.retrieval is not None


def is_awaited(last: AnswerRecord, end: StreamEnd, now: float) -> bool:
    """Return whether an answer waits for its rest, as its record says."""
    waits = last.waits
    return waits is not None and waits.position == end.tail and now < waits.until


async def unfinished(
    streams: AnswerStreams, name: str, found: StreamRecord, end: StreamEnd
) -> UnfinishedAnswer | None:
    """Return the last answer in a stream if its provider may go on with it, or None.

    Raises HeadgateError.
    """
    last = found.answers[-1]
    request, head = last.request, last.response
    if last.end is not None or head is None or end.is_closed or not may_go_on(request):
        return None
    progress, found_id = request.dialect.progress(), None
    async for data, _ in streams.chunks(name, request.position, end):
        found_id = found_id or request.dialect.response_id(data)
        for event in events_of(data):  # reads end after whole events
            progress.add(event)
    if found_id is None or progress.cursor is None or progress.has_ended:
        return None
    if last.resumptions >= MOST_RESUMPTIONS:
        return None
    return UnfinishedAnswer(last, head, found_id, progress.cursor, progress, end)
