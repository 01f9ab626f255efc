"""Checks whether appends arrive as they are sent: short, long, and with `Expect`."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from headgate.errors import RequestRefused

from gateway.tools.cdn_doctor.finding import Finding, failed, passed, unknown
from gateway.tools.cdn_doctor.probe_sender import (
    ID_MARK,
    REQUEST_ID,
    ProbeBounds,
    TooManyRequests,
    words,
)
from gateway.tools.cdn_doctor.streams import AppendNotSent, AppendRefused
from gateway.tools.cdn_doctor.wire import CONTINUE_S, append_expecting, append_in_chunks
from gateway.tools.shell.failure import FAILURES

if TYPE_CHECKING:
    from gateway.tools.cdn_doctor.deployment import Deployment
    from gateway.tools.cdn_doctor.finding import Advice, Check
    from gateway.tools.cdn_doctor.probe_sender import ProbeReply
    from gateway.tools.cdn_doctor.streams import OwnStream

# Every byte there is, in more than one packet's worth of body.
BODY = bytes(range(256)) * 16
# 1 MiB is what nginx takes unless it is told otherwise, and more hops than one have it from there.
LARGE = bytes(range(256)) * (1 << 12) + BODY
# Over a line of 0.3 Mbit/s.
LARGE_S = 30.0
# What a gateway says whose own limit is lower.
OWN_LIMIT = "max_append"
OTHER_BODY = BODY[::-1]
EXPECTING = "an append with Expect: 100-continue"
CHUNKED = "an append without a length (Transfer-Encoding: chunked)"
# So much longer may be what is read: U+FFFD, of three bytes, in the place of each byte.
LONGEST_REWRITTEN = 3
_BYTES = re.compile(r"_(\d{16})$")


OF_LONG_APPENDS: tuple[Check, ...] = ("large append", "Expect", "chunked append")


async def bodies(deployment: Deployment) -> list[Finding]:
    """Check an append of every byte, then one that is longer than most hops take unasked."""
    small = await _stored(deployment, "POST body", "-post", BODY)
    if not small.is_pass:
        saw = "a short one does not arrive"
        return [small, *(unknown(name, saw) for name in OF_LONG_APPENDS)]
    large = await _stored(deployment, "large append", "-large", LARGE)
    return [small, large, *await _on_the_wire(deployment)]


async def _stored(deployment: Deployment, check: Check, suffix: str, body: bytes) -> Finding:
    own = await deployment.streams.create(suffix)
    try:
        tail = await own.append(body, bounds=ProbeBounds(within_s=LARGE_S))
    except TooManyRequests:
        raise
    except FAILURES as refusal:
        return _refused(check, body, refusal)
    found = await _read_back(own, check, body, tail)
    if found.is_pass and body is BODY:  # which costs little to send again
        return await _followed(own, check, tail) or found
    return found


def _refused(check: Check, body: bytes, refusal: Exception) -> Finding:
    said = words(refusal)
    saw = f"{len(body):,} bytes were appended, and {said}"
    if isinstance(refusal, AppendNotSent):
        return failed(check, saw, "POST kept")
    status = refusal.reply.status if isinstance(refusal, AppendRefused) else None
    # What a hop is too busy for, or a server has no stream for, is no matter of the body.
    if OWN_LIMIT in said or status in {404, 502, 503, 504}:
        return unknown(check, saw)
    return failed(check, saw, "body limit" if status == 413 else None)


async def _followed(own: OwnStream, check: Check, tail: str) -> Finding | None:
    """Return what is wrong with a second append, which no hop may answer like the first."""
    try:
        again = await own.append(OTHER_BODY)
    except AppendNotSent as why:
        return failed(check, words(why), "POST kept")
    saw = "the second of two appends got the response to the first, and is not stored"
    return failed(check, saw, "POST kept") if again == tail else None


async def _read_back(own: OwnStream, check: Check, body: bytes, tail: str) -> Finding:
    try:
        reply = await _read(own, len(body))
    except RequestRefused as refusal:
        if isinstance(refusal.__cause__, TimeoutError):
            raise
        saw = f"{len(body):,} bytes were appended, and of their read {words(refusal)}"
        return failed(check, saw, "cut responses")
    if not reply.is_good:
        return unknown(check, f"it could not be read back: {reply.error_text}")
    if reply.body == body:
        return passed(check, f"an append of {len(body):,} bytes is stored as it was sent")
    if len(reply.body) < len(body) == _distance(own.start, tail) and body.startswith(reply.body):
        saw = f"{len(body):,} bytes were stored, and the response to their read has"
        return failed(check, f"{saw} {len(reply.body):,} of them", "cut responses")
    return failed(
        check,
        f"{len(body):,} bytes were appended and acknowledged, and {len(reply.body):,} "
        f"{'others ' if len(reply.body) == len(body) else ''}are there",
        _cause(reply.body, body),
    )


async def _read(own: OwnStream, appended: int) -> ProbeReply:
    bounds = ProbeBounds(LARGE_S, LONGEST_REWRITTEN * appended)
    return await own.asker.send(own.stream, "GET", query={"offset": own.start}, bounds=bounds)


def _distance(start: str, tail: str) -> int | None:
    """Return how many bytes a server stored, where its offsets end with a count of bytes."""
    counts = [_BYTES.search(offset) for offset in (start, tail)]
    if counts[0] is None or counts[1] is None:
        return None
    return int(counts[1][1]) - int(counts[0][1])


def _cause(seen: bytes, body: bytes) -> Advice:
    if seen == body + body:
        return "sent once"
    return "rewritten" if len(seen) >= len(body) else "POST body"


async def _on_the_wire(deployment: Deployment) -> list[Finding]:
    """Check what not all hops know, byte by byte: a body that waits, and one without a length.

    They are read at once: two reads of one URL would find the copy of the first.
    """
    own = await deployment.streams.create("-expect")
    not_expected, is_told = await _expecting(own)
    not_chunked = await _chunked(own)
    if not_expected and not_chunked:
        return [not_expected, not_chunked]
    reply = await _read(own, 2 * len(BODY))
    if not reply.is_good:
        saw = f"it could not be read back: {reply.error_text}"
        return [unknown("Expect", saw), unknown("chunked append", saw)]
    when = "after a 100" if is_told else f"though no 100 came within {CONTINUE_S:g} s"
    return [
        not_expected
        or _judged("Expect", f"{EXPECTING} is stored, {when}", reply.body.startswith(BODY)),
        not_chunked
        or _judged("chunked append", f"{CHUNKED} is stored", reply.body.endswith(OTHER_BODY)),
    ]


def _judged(check: Check, saw: str, is_there: bool) -> Finding:
    if is_there:
        return passed(check, saw)
    return failed(check, f"{len(BODY):,} bytes were appended and acknowledged, and are not there")


def _fields(own: OwnStream) -> dict[str, str]:
    own.asker.budget.spend()
    return {
        "Content-Type": own.content_type,
        REQUEST_ID: f"{ID_MARK}{secrets.token_hex(8)}",
    }


async def _expecting(own: OwnStream) -> tuple[Finding | None, bool]:
    """Append as curl does above 1 MiB: return what is wrong, and whether a 100 came before."""
    try:
        status, is_told = await append_expecting(own.stream, _fields(own), BODY)
    except RequestRefused as refusal:
        return failed("Expect", f"{EXPECTING}, and {words(refusal)}"), False
    return _not_taken("Expect", EXPECTING, status), is_told


async def _chunked(own: OwnStream) -> Finding | None:
    """Append what has no length before it ends, and return what is wrong."""
    try:
        status = await append_in_chunks(own.stream, _fields(own), OTHER_BODY)
    except RequestRefused as refusal:
        return failed("chunked append", f"{CHUNKED}, and {words(refusal)}")
    return _not_taken("chunked append", CHUNKED, status)


def _not_taken(check: Check, sent: str, status: int) -> Finding | None:
    if 200 <= status < 300:
        return None
    if status in {401, 403, 404, 429, 502, 503, 504}:
        return unknown(check, f"{sent} was answered {status}")
    return failed(check, f"{sent} was answered {status}")
