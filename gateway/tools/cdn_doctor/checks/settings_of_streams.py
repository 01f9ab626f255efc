"""Checks whether what a request says beside its body arrives: a lifetime, an order, a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.names import TTL

from gateway.tools.cdn_doctor.evidence import AnswerSource, is_headgate, source
from gateway.tools.cdn_doctor.finding import Finding, failed, passed, unknown

if TYPE_CHECKING:
    from gateway.tools.cdn_doctor.deployment import Deployment
    from gateway.tools.cdn_doctor.finding import Check
    from gateway.tools.cdn_doctor.streams import OwnStream

OF_SETTINGS: tuple[Check, ...] = ("Stream-TTL", "Stream-Seq", "query case")
LIFETIME_S, OTHER_S = "3600", "7200"


async def stream_settings(deployment: Deployment) -> list[Finding]:
    """Check a lifetime, the order of a writer, and a query in upper case."""
    own = await deployment.streams.create("-settings", lifetime={TTL: LIFETIME_S})
    return [await _lifetime(own), await _order(own), await _query(own)]


async def _lifetime(own: OwnStream) -> Finding:
    """Check that the stream has its lifetime: creating it with another one is a conflict."""
    head = await own.asker.send(own.stream, "HEAD")
    seen = head.headers.get(TTL)
    if seen not in {None, LIFETIME_S}:
        saw = f"a stream was created with a {TTL} of {LIFETIME_S}, and has {ascii(seen)[:40]}"
        return failed("Stream-TTL", saw)
    fields = {"Content-Type": own.content_type, TTL: OTHER_S}
    reply = await own.asker.send(own.stream, "PUT", headers=fields)
    if reply.status == 409:
        return passed("Stream-TTL", "a stream has the lifetime with which it was created")
    if reply.is_good:
        return failed("Stream-TTL", f"a stream can be created again with another {TTL}")
    return unknown("Stream-TTL", f"a stream that exists was answered with: {reply.error_text}")


async def _order(own: OwnStream) -> Finding:
    """Check that an append with a lower Stream-Seq than the one before is refused."""
    replies = [
        await own.asker.send(
            own.stream,
            "POST",
            headers={"Content-Type": own.content_type, "Stream-Seq": number},
            body=b"1",
        )
        for number in ("2", "1")
    ]
    if source(replies[1]) is AnswerSource.SHARED:
        return unknown("Stream-Seq", "an append was answered from a copy of another response")
    if replies[0].is_good and replies[1].is_good:
        saw = "an append with a lower Stream-Seq than the one before is accepted"
        return failed("Stream-Seq", saw)
    if replies[0].is_good and replies[1].status == 409:
        return passed("Stream-Seq", "an append with a lower Stream-Seq is refused")
    refused = replies[1] if replies[0].is_good else replies[0]
    return unknown("Stream-Seq", f"an append was answered with: {refused.error_text}")


async def _query(own: OwnStream) -> Finding:
    """Check that a query in upper case is not taken for the one in lower case."""
    reply = await own.read({"offset": "NOW"})
    if reply.status == 400:
        return passed("query case", "the query arrives as it was sent")
    if reply.is_good and is_headgate(reply.headers):
        return failed("query case", "offset=NOW is answered as offset=now")
    return unknown("query case", f"offset=NOW was answered {reply.status}")
