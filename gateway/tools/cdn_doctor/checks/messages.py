"""Checks of whether an append, its fields and the answer to it come through unchanged."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING

from headgate.names import PRODUCER_EPOCH, PRODUCER_ID, PRODUCER_SEQ, TTL, is_closed
from yarl import URL

from gateway.protocol.http.header_names import NEXT_OFFSET
from gateway.tools.cdn_doctor.checks import fields
from gateway.tools.cdn_doctor.evidence import AnswerSource, cache_claims, is_headgate, source
from gateway.tools.cdn_doctor.finding import Finding, failed, noted, passed, unknown
from gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from gateway.tools.cdn_doctor.deployment import Deployment
    from gateway.tools.cdn_doctor.finding import Check
    from gateway.tools.cdn_doctor.probe_sender import ProbeReply
    from gateway.tools.cdn_doctor.streams import OwnStream

JSON = "application/json"
OF_MESSAGES: tuple[Check, ...] = ("headers", "cookies", "content", "repeated append", "own pages")
# What people and models write: markup, a query, an address; and a number that a parser of
# JavaScript's changes. No hop that only passes bodies on looks at any of it.
CONTENT = (
    b'{"number": 9007199254740993, "amount": 1.0, "html": "<script>alert(1)</script>", '
    b'"sql": "1 UNION SELECT name FROM users--", "url": "http://doctor.invalid/"}'
)
REFUSED_UNREAD = {400, 403, 406}  # as firewalls answer; what is busy or too long has other checks


async def message(deployment: Deployment) -> list[Finding]:
    """Check a message: the fields it is read with, its bytes, who may send it, and how often."""
    reads = deployment.reads
    if reads.first.is_good and not reads.appends_arrive:
        raise Failed("what is appended does not arrive")
    own = await deployment.streams.create("-message", JSON)
    stamp = {
        PRODUCER_ID: f"doctor-{secrets.token_hex(4)}",
        PRODUCER_EPOCH: "0",
        PRODUCER_SEQ: "0",
    }
    first = await _append(own, CONTENT, stamp)
    if not first.is_good:
        await own.append(b"1")  # if this is refused as well, it is not for its content
    read = await own.read({"offset": own.start})
    headers = await fields.headers(deployment, own, read)
    cookies = fields.cookies(deployment)
    if first.is_good:
        return [headers, cookies, _content(read), *await _again(own, first, stamp)]
    none = "no append to look at"
    others = (unknown("repeated append", none), unknown("own pages", none))
    return [headers, cookies, _refused(first), *others]


async def _append(own: OwnStream, body: bytes, headers: dict[str, str]) -> ProbeReply:
    sent = {"Content-Type": own.content_type, **headers}
    return await own.asker.send(own.stream, "POST", headers=sent, body=body)


def _refused(reply: ProbeReply) -> Finding:
    saw = f"an append of markup, a query and an address was answered with: {reply.error_text}"
    if reply.status in REFUSED_UNREAD:
        return failed("content", saw, "firewall")
    return unknown("content", saw)


def _content(read: ProbeReply) -> Finding:
    if not read.is_good:
        return unknown("content", f"a read was answered with: {read.error_text}")
    if CONTENT in read.body:
        return passed("content", "markup, a query, an address and a long number stay as they were")
    if not is_headgate(read.headers):
        return unknown("content", "JSON is rewritten, which the server may do itself")
    return failed("content", f"a message is not read as it was sent{cache_claims(read)}")


async def _again(own: OwnStream, first: ProbeReply, stamp: dict[str, str]) -> list[Finding]:
    """Check the same append once more, by a page of the host, which the server knows by Host."""
    origin = {"Origin": str(URL(own.stream.url).origin())}
    reply = await _append(own, CONTENT, stamp | origin)
    if reply.is_good:
        pages = passed("own pages", "a page of the same host may write")
    elif reply.status == HTTPStatus.FORBIDDEN:
        saw = f"a page of the same host may not write: {reply.error_text}"
        pages = noted("own pages", saw)
        reply = await _append(own, CONTENT, stamp)
    else:
        pages = unknown("own pages", f"an append for a page was answered with: {reply.error_text}")
    return [_repeated(first, reply), pages]


def _repeated(first: ProbeReply, again: ProbeReply) -> Finding:
    check: Check = "repeated append"
    if not again.is_good:
        return unknown(check, f"the same append again was answered with: {again.error_text}")
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
