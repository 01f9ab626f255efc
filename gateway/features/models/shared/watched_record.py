"""The entries of a record as they are appended, by whichever gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import LogUnavailable, StreamGone, StreamNotFound
from gateway.features.models.record import decoded
from gateway.streams.follower import RELOAD_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.features.models.record import Entry
    from gateway.features.models.streams import AnswerStreams


async def entries_from(
    streams: AnswerStreams, record: str, position: int, stream_id: int | None
) -> AsyncGenerator[Entry, None]:
    """Yield the entries behind a position of a record as they come, until the record is gone.

    The log's notifications say when there are more. While the log cannot be read, nothing comes.
    """
    changed = asyncio.Event()
    changed.set()
    end_watch = streams.watch(record, lambda *_: changed.set())
    try:
        while True:
            await changed.wait()
            changed.clear()
            try:
                end = await streams.end(record)
                if end is None or end.stream_id != stream_id:
                    return
                async for data, read_to in streams.chunks(record, position, end):
                    position = read_to
                    for entry in decoded(data):
                        yield entry
            except (StreamNotFound, StreamGone):
                return
            except LogUnavailable:
                loop = asyncio.get_running_loop()
                loop.call_later(RELOAD_S, look_again, streams, record)
                loop.call_later(RELOAD_S, changed.set)
    finally:
        end_watch()


def look_again(streams: AnswerStreams, name: str) -> None:
    """Load a watched stream anew, and notify its watchers."""
    streams.route.table.reload(streams.full_name(name))
