"""Checks whether the header fields of appends, and of their refusals, come through."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from headgate.names import PRODUCER_EPOCH, PRODUCER_ID, PRODUCER_SEQ, is_closed

from gateway.protocol.http.header_names import NEXT_OFFSET
from gateway.tools.cdn_doctor.checks import fields
from gateway.tools.cdn_doctor.finding import Finding, failed, passed, unknown
from gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from gateway.tools.cdn_doctor.deployment import Deployment
    from gateway.tools.cdn_doctor.finding import Check
    from gateway.tools.cdn_doctor.probe_sender import ProbeReply
    from gateway.tools.cdn_doctor.streams import OwnStream

OF_MESSAGES: tuple[Check, ...] = ("headers", "repeated append")
DATA = b"message"


async def message(deployment: Deployment) -> list[Finding]:
    """Check the fields that a message is read with, and whether a repetition is recognised."""
    reads = deployment.reads
    if reads.first.is_good and not reads.appends_arrive:
        raise Failed("what is appended does not arrive")
    own = await deployment.streams.create("-message")
    stamp = {
        PRODUCER_ID: f"doctor-{secrets.token_hex(4)}",
        PRODUCER_EPOCH: "0",
        PRODUCER_SEQ: "0",
    }
    first = await _append(own, DATA, stamp)
    headers = await fields.headers(deployment, own, await own.read({"offset": own.start}))
    return [headers, _repeated(first, await _append(own, DATA, stamp))]


async def _append(own: OwnStream, body: bytes, headers: dict[str, str]) -> ProbeReply:
    sent = {"Content-Type": own.content_type, **headers}
    return await own.asker.send(own.stream, "POST", headers=sent, body=body)


def _repeated(first: ProbeReply, again: ProbeReply) -> Finding:
    check: Check = "repeated append"
    if not (first.is_good and again.is_good):
        saw = f"it was answered with: {first.error_text or again.error_text}"
        return unknown(check, saw)
    before, after = (reply.headers.get(NEXT_OFFSET) for reply in (first, again))
    if before is None or after is None:
        return unknown(check, f"the answer to an append has no {NEXT_OFFSET}")
    if before == after:
        return passed(
            check, "an append that was sent twice with the same Producer fields is stored once"
        )
    return failed(
        check,
        f"an append that was sent twice, with the same {PRODUCER_SEQ}, is stored twice: its "
        "Producer fields do not arrive",
    )


async def refusals(deployment: Deployment) -> Finding:
    """Check that a refusal reaches the writer with its status, and the fields that explain it."""
    closed = deployment.reads
    if not is_closed(closed.again.headers):
        return unknown("refusals", "no stream is known to be closed")
    reply = await _append(closed.own, b"behind the end", {})
    if reply.is_good:
        return unknown("refusals", f"an append to a closed stream was answered {reply.status}")
    sent = "an append to a closed stream was answered"
    if reply.status != 409:
        return failed("refusals", f"{sent} {reply.status}, where 409 was expected")
    if not is_closed(reply.headers):
        return failed("refusals", f"{sent} 409 without the Stream-Closed that says why")
    return passed("refusals", "an append to a closed stream is refused with 409 and Stream-Closed")
