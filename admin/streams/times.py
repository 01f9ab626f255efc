"""The place in a stream from which on its messages may be as new as a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.errors import NotTold
from admin.model.streams import MessagePlace
from gateway.protocol.streams.offsets import BEGINNING

if TYPE_CHECKING:
    from gateway.features.questions.streams import StreamDescription


def place_since(stream: StreamDescription, since: float) -> MessagePlace:
    """Return the last known place before which every message is older than `since` (epoch seconds).

    Raises NotTold if the log knows no times of the stream.
    """
    if not stream.times:
        raise NotTold(
            409,
            "the log knows no times of this stream: it notes some where a retention is set",
        )
    older = [it.offset for it in stream.times if it.at < since]
    return MessagePlace(older[-1] if older else BEGINNING)
