"""Checks whether appends arrive as they are sent, short and long."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, cast

from headgate.errors import StreamError
from headgate_doctor.evidence import AnswerSource, source
from headgate_doctor.finding import FAILURES, Finding, failed, passed, unknown
from headgate_doctor.probe_sender import ProbeBounds, TooManyRequests, words
from headgate_doctor.streams import AppendNotSent, AppendRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from headgate_doctor.deployment import Deployment
    from headgate_doctor.finding import Advice, Check
    from headgate_doctor.probe_sender import ProbeReply
    from headgate_doctor.streams import OwnStream

# Every byte there is, in more than one packet's worth of body.
BODY = bytes(range(256)) * 16
# 1 MiB is what nginx takes unless it is told otherwise, and more hops than one have it from there.
LARGE = bytes(range(256)) * (1 << 12) + BODY
# Over a line of 0.3 Mbit/s.
LARGE_S = 30.0
# What a gateway says whose own limit is lower.
OWN_LIMIT = "max_append"
OTHER_BODY = BODY[::-1]
EQUAL = b"equal"
# So much longer may be what is read: U+FFFD, of three bytes, in the place of each byte.
LONGEST_REWRITTEN = 3
LATE_S = 2.5  # a hop that stores appends by itself sends most of them on by then
LATER = {"cursor": "later"}  # which nobody has a copy of
_BYTES = re.compile(r"_(\d{16})$")


class InPieces:
    """A body whose length is not announced, so that it is sent in chunks."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __len__(self) -> int:
        return len(self._body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield two pieces."""
        middle = len(self._body) // 2
        yield self._body[:middle]
        yield self._body[middle:]


async def bodies(deployment: Deployment) -> list[Finding]:
    """Check an append of every byte, then one that is longer than most hops take unasked."""
    small = await _stored(deployment, "POST body", "-post", BODY)
    if not small.is_pass:
        saw = "a short one does not arrive"
        return [small, unknown("large append", saw)]
    return [small, await _stored(deployment, "large append", "-large", LARGE)]


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
        again = await own.append(cast("bytes", InPieces(OTHER_BODY)))
        await asyncio.gather(own.append(EQUAL), own.append(EQUAL))
    except AppendNotSent as why:
        return failed(check, words(why), "POST kept")
    except AppendRefused as refusal:
        saw = f"one without Content-Length, in chunks, was answered {refusal.reply.status}"
        return failed(check, saw, "chunked")
    if again == tail:
        saw = "the second of two appends got the response to the first, and is not stored"
        return failed(check, saw, "POST kept")
    # From where nobody has read yet, as copies of the tail are right for a second.
    stored = await own.read({"offset": tail})
    is_copy = source(stored) is AnswerSource.SHARED  # which other checks look at
    # From elsewhere too: that an offset does not arrive has a check.
    if is_copy or stored.body.endswith(OTHER_BODY + 2 * EQUAL) or not stored.is_good:
        return None
    if stored.body == OTHER_BODY + EQUAL:
        return failed(check, "two equal appends are stored as one", "equal appends")
    saw = f"{len(OTHER_BODY):,} bytes were appended in chunks, and others are there"
    return failed(check, saw, "chunked")


async def _read_back(own: OwnStream, check: Check, body: bytes, tail: str) -> Finding:
    try:
        reply = await _read(own, len(body))
    except StreamError as refusal:
        if isinstance(refusal.__cause__, TimeoutError):
            raise
        saw = f"{len(body):,} bytes were appended, and of their read {words(refusal)}"
        return failed(check, saw, "cut responses")
    if not reply.is_good:
        return unknown(check, f"it could not be read back: {reply.error_text}")
    if reply.body == body:
        return passed(check, f"an append of {len(body):,} bytes is stored as it was sent")
    if len(reply.body) < len(body) and await _is_late(own, body):
        saw = f"{len(body):,} bytes were acknowledged before they were stored: they came later"
        return failed(check, saw, "answered early")
    if len(reply.body) < len(body) == _distance(own.start, tail) and body.startswith(reply.body):
        saw = f"{len(body):,} bytes were stored, and the response to their read has"
        return failed(check, f"{saw} {len(reply.body):,} of them", "cut responses")
    return failed(
        check,
        f"{len(body):,} bytes were appended and acknowledged, and {len(reply.body):,} "
        f"{'others ' if len(reply.body) == len(body) else ''}are there",
        _cause(reply.body, body),
    )


async def _is_late(own: OwnStream, body: bytes) -> bool:
    """Return whether an append is there after a while."""
    await asyncio.sleep(LATE_S)
    with contextlib.suppress(*FAILURES):
        return (await _read(own, len(body), LATER)).body == body
    return False


async def _read(own: OwnStream, appended: int, cursor: Mapping[str, str] = {}) -> ProbeReply:
    bounds = ProbeBounds(LARGE_S, LONGEST_REWRITTEN * appended)
    query = {"offset": own.start, **cursor}
    return await own.asker.send(own.stream, "GET", query=query, bounds=bounds)


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
