"""Whether who looks for what was written sees it: a tail that moves, a stream that begins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.commands.cdn_doctor.evidence import told
from gateway.commands.cdn_doctor.finding import Finding, failed, passed, unknown
from gateway.commands.cdn_doctor.staleness import EMPTY
from gateway.protocol.header_names import NEXT_OFFSET

if TYPE_CHECKING:
    from gateway.commands.cdn_doctor.deployment import Deployment

# An answer at the tail may be kept for a second, of which nginx, counting whole ones, makes almost
# two. It is looked for once: a stale answer that is given out has a second look find a new one.
LOOK_S = 2.5


async def head(deployment: Deployment) -> Finding:
    """Whether HEAD tells the tail as it is, right after an append."""
    own = await deployment.streams.create("-head")
    before = await deployment.asker.ask(own.stream, "HEAD")
    tail = await own.append(b"1")
    after = await deployment.asker.ask(own.stream, "HEAD")
    if not (before.is_good and after.is_good):
        worse = after if before.is_good else before
        return unknown("HEAD", f"it was answered {worse.status}")
    seen = after.headers.get(NEXT_OFFSET)
    if seen == tail:
        return passed("HEAD", "right after an append it tells the new tail")
    if seen is None:
        return failed("HEAD", f"its answer has no {NEXT_OFFSET}")
    return failed("HEAD", f"after an append it told the old tail{told(after)}")


async def empty_tail(deployment: Deployment) -> Finding:
    """Check that a read that found nothing finds an append some time later."""
    own = await deployment.streams.create("-tail")
    query = {"offset": own.start}
    nothing = await own.read(query)
    if not nothing.is_good or nothing.body not in EMPTY:
        return unknown("empty tail", "a read of an empty stream did not come back empty")
    await own.append(b"1")
    await asyncio.sleep(LOOK_S)
    reply = await own.read(query)
    if reply.body not in EMPTY:
        return passed("empty tail", f"an append is seen after {LOOK_S:g} s")
    return failed("empty tail", f"{LOOK_S:g} s after an append a read is still empty{told(reply)}")


async def early_404(deployment: Deployment) -> Finding:
    """Check that who read a stream too early reads it once it is there."""
    early = deployment.streams.planned("-early")
    query = {"offset": "-1"}
    before = await deployment.asker.ask(early, "GET", query=query)
    if before.status not in {404, 410}:
        return unknown("early 404", f"a stream that is not there was answered {before.status}")
    own = await deployment.streams.create("-early")
    await asyncio.sleep(LOOK_S)
    reply = await own.read(query)
    if reply.is_good:
        return passed("early 404", "a stream that was read before it was made is there then")
    if reply.status == before.status:
        saw = f"{LOOK_S:g} s after a stream was made a read of it is still answered"
        return failed("early 404", f"{saw} {reply.status}{told(reply)}")
    return unknown("early 404", f"a read was answered with: {reply.said}")
