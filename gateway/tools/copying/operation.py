"""The operation of `headgate data copy`: opens both places, copies, and says what was done."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.tools.copying.files import OffsetMap, named_streams, opened_names
from gateway.tools.copying.log_place import LogPlace
from gateway.tools.copying.queue import CopyQueue
from gateway.tools.copying.server_place import ServerPlace
from gateway.tools.server.client import connect
from gateway.tools.shell.output import finish
from gateway.tools.shell.patience import retries, tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.tools.copying.contract import StreamEntry
    from gateway.tools.server.target import StreamTarget


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """A request to copy from a log, or the base URL of a server, to another.

    `admin` is the admin API by which the streams of a server are listed, without `names`.
    """

    source: LogPlace | StreamTarget
    target: LogPlace | StreamTarget
    admin: StreamTarget | None
    prefix: str
    names: Path | None
    map_file: Path | None
    follows: bool
    as_json: bool


async def copy(request: CopyRequest) -> int:
    """Copy, and return how many streams could not be copied."""
    if isinstance(request.source, LogPlace):
        request.source.check_there()
    async with AsyncExitStack() as stack:
        offset_map = stack.enter_context(OffsetMap(request.map_file))
        source = await _opened(stack, request.source, request.admin)
        target = await _opened(stack, request.target, None)
        prefix = quote(request.prefix.lstrip("/"), safe="/%")
        names = None
        if request.names is not None:
            names = await stack.enter_async_context(opened_names(request.names))

        def streams() -> AsyncIterator[StreamEntry]:
            if names is None:
                return source.listed(prefix)
            return named_streams(names, source.shown, prefix)

        queue = CopyQueue(source, target, streams, offset_map)
        await queue.run(follows=request.follows)
        subscriptions = await source.subscriptions()
    _finish(queue, subscriptions, as_json=request.as_json)
    return queue.refused


async def _opened(
    stack: AsyncExitStack, place: LogPlace | StreamTarget, admin: StreamTarget | None
) -> LogPlace | ServerPlace:
    if isinstance(place, LogPlace):
        await place.open()
        stack.push_async_callback(place.close)
        return place
    base = await stack.enter_async_context(connect(place, past_caches=True))
    api = None if admin is None else await stack.enter_async_context(connect(admin))
    return ServerPlace(base, retries(tell, is_repeatable=True), api)


def _finish(queue: CopyQueue, subscriptions: int | None, *, as_json: bool) -> None:
    numbers = {
        "streams": queue.streams,
        "changed": queue.changed,
        "gone": queue.gone,
        "refused": queue.refused,
        "bytes": queue.bytes,
        "subscriptions": subscriptions,
    }
    parts = [f"Copied {queue.changed:,} of {queue.streams:,} streams, {queue.bytes:,} bytes"]
    if queue.changed < queue.streams - queue.gone:
        parts.append("the others were there already")
    if queue.gone:
        parts.append(f"{queue.gone:,} of FROM are gone")
    if queue.refused:
        parts.append(f"{queue.refused:,} could not be copied")
    if subscriptions:
        parts.append(
            f"{subscriptions:,} subscriptions of FROM are not copied: their clients create them "
            "again at TO, where they begin at the tails of the streams"
        )
    sentence = f"{'; '.join(parts)}."
    finish(sentence, numbers if as_json else None)
