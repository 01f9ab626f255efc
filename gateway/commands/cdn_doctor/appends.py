"""Whether appends arrive as they are sent: short ones, long ones, and those that ask first."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from headgate.errors import RequestRefused

from gateway.commands.cdn_doctor.asker import ID_MARK, REQUEST_ID, Bounds, TooManyRequests, words
from gateway.commands.cdn_doctor.finding import Finding, failed, passed, unknown
from gateway.commands.cdn_doctor.wire import CONTINUE_S, append_expecting
from gateway.commands.failure import FAILURES

if TYPE_CHECKING:
    from gateway.commands.cdn_doctor.deployment import Deployment
    from gateway.commands.cdn_doctor.hints import Check
    from gateway.commands.cdn_doctor.streams import OwnStream

# Every byte there is, in more than one packet's worth of body.
BODY = bytes(range(256)) * 16
# 1 MiB is what nginx takes unless it is told otherwise, and more hops than one have it from there.
LARGE = bytes(range(256)) * (1 << 12) + BODY
# Over a line of 0.3 Mbit/s.
LARGE_S = 30.0
# What a gateway says whose own limit is lower.
OWN_LIMIT = "max_append"
TOO_LARGE = "413"


async def bodies(deployment: Deployment) -> list[Finding]:
    """Check an append of every byte, then one that is longer than most hops take unasked."""
    small = await _stored(deployment, "POST body", "-post", BODY)
    if not small.is_pass:
        saw = "a short one does not arrive"
        return [small, unknown("large append", saw), unknown("Expect", saw)]
    large = await _stored(deployment, "large append", "-large", LARGE)
    return [small, large, await _expecting(deployment)]


async def _stored(deployment: Deployment, check: Check, suffix: str, body: bytes) -> Finding:
    own = await deployment.streams.create(suffix)
    try:
        await own.append(body, bounds=Bounds(within_s=LARGE_S))
    except TooManyRequests:
        raise
    except FAILURES as refusal:
        said = words(refusal)
        saw = f"{len(body):,} bytes were appended, and {said}"
        if OWN_LIMIT in said:
            return unknown(check, saw)
        return failed(check, saw, "body limit" if TOO_LARGE in said else None)
    return await _read_back(own, check, body)


async def _read_back(own: OwnStream, check: Check, body: bytes) -> Finding:
    reply = await own.asker.ask(
        own.stream, "GET", query={"offset": own.start}, bounds=Bounds(LARGE_S, len(body))
    )
    if not reply.is_good:
        return unknown(check, f"it could not be read back: {reply.said}")
    if reply.body == body:
        return passed(check, f"an append of {len(body):,} bytes is stored as it was sent")
    return failed(
        check,
        f"{len(body):,} bytes were appended and acknowledged, and {len(reply.body):,} "
        f"{'others ' if len(reply.body) == len(body) else ''}are there",
        "POST body",
    )


async def _expecting(deployment: Deployment) -> Finding:
    """Check an append that curl would send for any body above 1 MiB: it asks before it sends."""
    own = await deployment.streams.create("-expect")
    headers = {
        "Content-Type": own.content_type,
        REQUEST_ID: f"{ID_MARK}{secrets.token_hex(8)}",
    }
    deployment.asker.budget.spend()
    sent = "an append with Expect: 100-continue"
    try:
        status, is_told = await append_expecting(own.stream, headers, BODY)
    except RequestRefused as refusal:
        return failed("Expect", f"{sent}, and {words(refusal)}")
    if status in {401, 403, 429}:
        return unknown("Expect", f"{sent} was answered {status}")
    if not 200 <= status < 300:
        return failed("Expect", f"{sent} was answered {status}")
    found = await _read_back(own, "Expect", BODY)
    if not found.is_pass:
        return found
    when = "after a 100" if is_told else f"though no 100 came within {CONTINUE_S:g} s"
    return passed("Expect", f"{sent} is stored, {when}")
