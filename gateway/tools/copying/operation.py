"""The operation of `headgate data copy`: opens both places, copies, and says what was done."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.errors import HeadgateError
from gateway.features.subscriptions.copies.copying import SubscriptionCopy
from gateway.tools.copying.by_log import PlaceStreams
from gateway.tools.copying.files import OffsetMap, named_streams, opened_names
from gateway.tools.copying.log_place import LogPlace
from gateway.tools.copying.queue import MOST_SAID, CopyQueue, ended_by
from gateway.tools.copying.server_place import ServerPlace
from gateway.tools.server.client import connect
from gateway.tools.shell.output import finish, note
from gateway.tools.shell.patience import retries, tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.features.subscriptions.copies.copying import CopiedSubscriptions
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
    with_subscriptions: bool
    as_json: bool

    @property
    def copies_subscriptions(self) -> bool:
        """True if the subscriptions of a log come along to another one, as all streams do."""
        return self.with_subscriptions and not (self.prefix or self.names or self.follows)


async def copy(request: CopyRequest) -> int:
    """Copy, and return how many streams and subscriptions could not be copied."""
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
        number, copied = await source.subscriptions(), None
        if (
            request.copies_subscriptions
            and isinstance(source, LogPlace)
            and isinstance(target, LogPlace)
        ):
            copied = await _copied_subscriptions(source, target, queue)
    _finish(queue, number, copied, as_json=request.as_json)
    return queue.refused + (0 if copied is None else len(copied.refused))


async def _copied_subscriptions(
    source: LogPlace, target: LogPlace, queue: CopyQueue
) -> CopiedSubscriptions:
    """Copy the subscriptions of a log, whose streams are copied, and name those that stay."""
    streams = PlaceStreams(source, target, queue.is_refused)
    try:
        copied = await SubscriptionCopy(source.log, target.log, streams).run()
    except HeadgateError as failure:
        so_far = f"{queue.so_far()}, and not all subscriptions"
        raise ended_by(failure, so_far, source, target) from failure
    for name, why in islice(copied.refused.items(), MOST_SAID):
        note(f"headgate: subscription {name}: {why}.")
    return copied


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


def _finish(
    queue: CopyQueue, number: int | None, copied: CopiedSubscriptions | None, *, as_json: bool
) -> None:
    numbers = {
        "streams": queue.streams,
        "changed": queue.changed,
        "gone": queue.gone,
        "refused": queue.refused,
        "bytes": queue.bytes,
        "subscriptions": number,
        "subscriptions_changed": None if copied is None else copied.changed,
        "subscriptions_refused": None if copied is None else len(copied.refused),
    }
    parts = [f"Copied {queue.changed:,} of {queue.streams:,} streams, {queue.bytes:,} bytes"]
    if queue.changed < queue.streams - queue.gone:
        parts.append("the others were there already")
    if queue.gone:
        parts.append(f"{queue.gone:,} of FROM are gone")
    if queue.refused:
        parts.append(f"{queue.refused:,} could not be copied")
    if copied is None and number:
        parts.append(f"subscriptions of FROM were not copied: {number:,}")
    elif copied is not None and copied.number:
        parts.append(_of_subscriptions(copied))
    sentence = f"{'; '.join(parts)}."
    finish(sentence, numbers if as_json else None)


def _of_subscriptions(copied: CopiedSubscriptions) -> str:
    """Return what was done with the subscriptions, in words."""
    words = [f"{copied.changed:,} of {copied.number:,} subscriptions copied"]
    if copied.ahead:
        words.append(f"{copied.ahead:,} have gone on at TO")
    if copied.refused:
        words.append(f"{len(copied.refused):,} could not be copied")
    return ", ".join(words)
