"""Whether what is written arrives, and whether who looks after it sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.commands.cdn_doctor.asker import words
from gateway.commands.cdn_doctor.evidence import told
from gateway.commands.cdn_doctor.finding import Finding, failed, passed, unknown
from gateway.commands.cdn_doctor.staleness import EMPTY
from gateway.commands.failure import FAILURES
from gateway.protocol.header_names import NEXT_OFFSET

if TYPE_CHECKING:
    from gateway.commands.cdn_doctor.deployment import Deployment

# Every byte there is, in more than one packet's worth of body.
BODY = bytes(range(256)) * 16
# An answer at the tail may be kept for a second; a second more is for the ways there and back.
LOOKS_S = (1.2, 2.0)


async def post_body(deployment: Deployment) -> Finding:
    """Whether an append is stored as it was sent."""
    own = await deployment.streams.create("-post")
    try:
        await own.append(BODY)
    except FAILURES as refusal:
        return failed("POST body", f"{len(BODY):,} bytes were appended, and {words(refusal)}")
    reply = await own.read({"offset": own.start})
    if not reply.is_good:
        return unknown("POST body", f"it could not be read back: {reply.said}")
    if reply.body == BODY:
        return passed("POST body", f"an append of {len(BODY):,} bytes is stored as it was sent")
    return failed(
        "POST body",
        f"{len(BODY):,} bytes were appended and acknowledged, and {len(reply.body):,} "
        f"{'others ' if len(reply.body) == len(BODY) else ''}are there",
    )


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
    """Whether a read that found nothing finds an append within two seconds."""
    own = await deployment.streams.create("-tail")
    query = {"offset": own.start}
    nothing = await own.read(query)
    if not nothing.is_good or nothing.body not in EMPTY:
        return unknown("empty tail", "a read of an empty stream did not come back empty")
    await own.append(b"1")
    loop = asyncio.get_running_loop()
    appended_s = loop.time()
    reply = nothing
    for look_s in LOOKS_S:
        await asyncio.sleep(max(0.0, appended_s + look_s - loop.time()))
        reply = await own.read(query)
        if reply.body not in EMPTY:
            return passed("empty tail", f"an append is seen after {look_s:g} s")
    return failed(
        "empty tail",
        f"{LOOKS_S[-1]:g} s after an append a read is still empty{told(reply)}",
    )
