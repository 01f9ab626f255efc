"""Detect a cache that reports nothing by responses that are older than an append."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.tools.cdn_doctor.deployment import Deployment
    from gateway.tools.cdn_doctor.probe_sender import ProbeReply
    from gateway.tools.cdn_doctor.streams import OwnStream

    Read = Callable[[OwnStream], Awaitable[ProbeReply]]

EMPTY = {b"", b"[]"}
# Nobody else reads with it, so that no cache has the answer.
UNUSED_CURSOR = "2"


async def old_answers(
    deployment: Deployment, suffix: str, before: Sequence[Read], after: Sequence[Read]
) -> list[bool]:
    """Return which reads `after` an append get the replies of those `before` it, from a cache.

    None are called old if that cannot be seen: the first reads were refused or found data already,
    or the server itself still serves the old tail.
    """
    own = await deployment.streams.create(suffix)
    first = [reply for read in before if (reply := await read(own)).is_good]
    await own.append(b"1")
    control = await own.read({"cursor": UNUSED_CURSOR, "offset": own.start})
    if not first or any(reply.body not in EMPTY for reply in first) or control.body in EMPTY:
        return [False] * len(after)
    replies = [await read(own) for read in after]
    return [reply.is_good and reply.body in EMPTY for reply in replies]
