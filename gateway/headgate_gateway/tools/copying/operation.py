"""The operation of `headgate data copy`: opens both places, copies, and says what was done."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from headgate_gateway.tools.copying.log_place import LogPlace
from headgate_gateway.tools.copying.names import named_streams
from headgate_gateway.tools.copying.queue import CopyQueue
from headgate_gateway.tools.copying.server_place import ServerPlace
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.shell.amounts import counted
from headgate_gateway.tools.shell.output import finish
from headgate_gateway.tools.shell.patience import CommandRetries, tell

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.tools.server.target import StreamTarget


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """A request to copy from a log, or the base URL of a server, to a log.

    `admin` is the admin API by which the streams of a server are listed, without `names`.
    """

    source: LogPlace | StreamTarget
    target: LogPlace
    admin: StreamTarget | None = None
    prefix: str = ""
    names: Path | None = None
    as_json: bool = False


async def copy(request: CopyRequest) -> int:
    """Copy, and return how many streams could not be copied."""
    async with AsyncExitStack() as stack:
        source = await _open(stack, request)
        await request.target.open()
        stack.push_async_callback(request.target.close)
        prefix = quote(request.prefix.lstrip("/"), safe="/%")
        paths = source.listed(prefix)
        if request.names is not None:
            paths = named_streams(request.names, source.shown, prefix)
        queue = CopyQueue(source, request.target)
        await queue.run(paths)
        subscriptions = await source.subscriptions() if isinstance(source, LogPlace) else None
    _finish(queue, subscriptions, as_json=request.as_json)
    return queue.refused


async def _open(stack: AsyncExitStack, request: CopyRequest) -> LogPlace | ServerPlace:
    source, admin = request.source, request.admin
    if isinstance(source, LogPlace):
        await source.open()
        stack.push_async_callback(source.close)
        return source
    base = await stack.enter_async_context(connect(source, past_caches=True))
    api = None if admin is None else await stack.enter_async_context(connect(admin))
    return ServerPlace(base, CommandRetries(tell, is_repeatable=True), api)


def _finish(queue: CopyQueue, subscriptions: int | None, *, as_json: bool) -> None:
    counts = ("streams", "changed", "gone", "refused", "bytes")
    numbers = {**{name: getattr(queue, name) for name in counts}, "subscriptions": subscriptions}
    parts = [
        f"Copied {queue.changed:,} of {counted(queue.streams, 'stream')}, "
        f"{counted(queue.bytes, 'byte')}"
    ]
    if queue.changed < queue.streams - queue.gone:
        parts.append("the others were there already")
    if queue.gone:
        parts.append(f"{queue.gone:,} of FROM are gone")
    if queue.refused:
        parts.append(f"{queue.refused:,} could not be copied")
    if subscriptions:
        parts.append(
            f"not copied: {counted(subscriptions, 'subscription')} of FROM; clients create them "
            "again at TO, where they begin at the tails of the streams"
        )
    sentence = f"{'; '.join(parts)}."
    finish(sentence, numbers if as_json else None)
