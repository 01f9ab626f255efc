"""Checks whether each offset has its own data, and whether what never changes is cached."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.names import NEXT_OFFSET, UP_TO_DATE, is_closed
from headgate_doctor.evidence import (
    AnswerSource,
    cache_claims,
    claims_kept,
    claims_missed,
    is_copy,
    source,
)
from headgate_doctor.finding import Finding, failed, noted, passed, unknown
from headgate_doctor.output import counted
from headgate_doctor.probe_sender import ProbeBounds
from headgate_doctor.server_names import DIGEST_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_doctor.deployment import Deployment
    from headgate_doctor.finding import Check
    from headgate_doctor.probe_sender import ProbeReply
    from headgate_doctor.streams import OwnStream

OF_CHUNKS: tuple[Check, ...] = ("offsets", "HEAD of chunks", "chunks kept")
# bytes; Headgate ends a chunk at the first append that reaches a multiple of this
CHUNK_BYTES = 1 << 18
LAST = b"the end of three appends\n"
BEGINNING = "-1"
# The longest examination, in seconds: no copy of its streams can be older.
OLDEST_S = 130
# A place of a CDN may have several servers, of which each asks once.
MORE_LOOKS = 2
SHORTEST_KEPT_S = 60  # what must not be kept for so long need not be kept at all
_LIFETIME = re.compile(r"\b(?:s-maxage|max-age)=(\d{1,9})\b", re.IGNORECASE)
_SHARED_LIFETIME = re.compile(r"\bs-maxage=(\d{1,9})\b", re.IGNORECASE)
_NOT_SHARED = re.compile(r"\b(?:private|no-store|no-cache)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Log:
    """A closed stream of two whole chunks and an end."""

    own: OwnStream
    data: bytes
    # Byte position and name of each offset that is read at.
    places: Mapping[str, tuple[int, str]]
    second: str
    # Whether other reads say that a stream is closed; where none does, that has a check of its own.
    says_closed: bool

    @property
    def end(self) -> str:
        """The offset after the last byte."""
        return list(self.places)[-1]

    def read_at(self, offset: str, reply: ProbeReply) -> str | None:
        """Return what is wrong with the answer to a read at `offset`, or None."""
        position, name = self.places[offset]
        for place, (other, other_name) in self.places.items():
            if place != offset and other != position and self._is_answer(other, reply):
                return f"a read at {name} was answered with what is at {other_name}"
        if reply.body == b"" and offset != self.end:
            return f"a read at {name} was answered with nothing"
        following = reply.headers.get(NEXT_OFFSET, "")
        if UP_TO_DATE in reply.headers and following in self.places and following != self.end:
            return f"a read at {name} has {UP_TO_DATE}, and more follows: readers stop there"
        if following in self.places and self.places[following][0] != position + len(reply.body):
            return f"the answer to a read at {name} has the {NEXT_OFFSET} of another one"
        if offset == self.end and self.says_closed and not is_closed(reply.headers):
            return f"a read at {name} does not say that the stream is closed"
        return None

    def missing_of(self, offset: str, reply: ProbeReply) -> int:
        """Return how many bytes a body lacks of those before the next offset in its head."""
        position, _ = self.places[offset]
        following, _ = self.places.get(reply.headers.get(NEXT_OFFSET, ""), (position, ""))
        whole = self.data[position:following]
        is_cut = reply.body != b"" and whole.startswith(reply.body)
        return len(whole) - len(reply.body) if is_cut else 0

    def _is_answer(self, position: int, reply: ProbeReply) -> bool:
        """Return whether a body is not empty and is the data at this position."""
        return reply.body != b"" and self.data[position:].startswith(reply.body)


async def chunks(deployment: Deployment) -> list[Finding]:
    """Check what reads at four offsets give, in turn and twice, and what is kept of them."""
    log = await _written(deployment)
    replies: dict[str, list[ProbeReply]] = {offset: [] for offset in log.places}
    for _ in range(2):
        for offset, so_far in replies.items():
            so_far.append(await _read(log, offset))
    found, head = _offsets(log, replies), await _head(log)
    first, again = replies[log.second]
    if not (first.is_good and again.is_good) or found.is_failure:
        return [found, head, unknown("chunks kept", "reads are not answered as they should be")]
    return [found, head, await _kept(deployment, log, again)]


async def _head(log: _Log) -> Finding:
    """Check that HEAD has the end of the stream, and not that of its first chunk."""
    check: Check = "HEAD of chunks"
    reply = await log.own.asker.send(log.own.stream, "HEAD")
    if not reply.is_good:
        return unknown(check, f"it was answered {reply.status}")
    seen = reply.headers.get(NEXT_OFFSET, "")
    if seen != log.end and seen in log.places:
        saw = f"it has {log.places[seen][1]} for the tail: it was sent as GET"
        return failed(check, f"{saw}{cache_claims(reply)}")
    if log.says_closed and not is_closed(reply.headers):
        return failed(check, "it does not say that the stream is closed")
    return passed(check, "it has the end of a closed stream of two chunks")


async def _written(deployment: Deployment) -> _Log:
    own = await deployment.streams.create("-offsets")
    parts = [secrets.token_bytes(CHUNK_BYTES), secrets.token_bytes(CHUNK_BYTES), LAST]
    second = await own.append(parts[0])
    third = await own.append(parts[1])
    end = await own.append(parts[2], close=True)
    places = {
        BEGINNING: (0, "the beginning"),
        second: (CHUNK_BYTES, "the end of the first chunk"),
        third: (2 * CHUNK_BYTES, "the end of the second chunk"),
        end: (2 * CHUNK_BYTES + len(LAST), "the end of the stream"),
    }
    says_closed = is_closed(deployment.reads.again.headers)
    return _Log(own, b"".join(parts), places, second, says_closed)


async def _read(log: _Log, offset: str) -> ProbeReply:
    return await log.own.asker.send(
        log.own.stream,
        "GET",
        query={"offset": offset},
        bounds=ProbeBounds(most_bytes=len(log.data)),
    )


def _offsets(log: _Log, replies: Mapping[str, list[ProbeReply]]) -> Finding:
    refused = [reply for pair in replies.values() for reply in pair if not reply.is_good]
    if refused:
        return unknown("offsets", f"a read was answered with: {refused[0].error_text}")
    for offset, pair in replies.items():
        if missing := max(log.missing_of(offset, reply) for reply in pair):
            early = f"{counted(missing, 'byte')} early"
            saw = f"the response to a read at {log.places[offset][1]} ends {early}"
            return failed("offsets", saw, "cut responses")
    if any(reply.body not in log.data for pair in replies.values() for reply in pair):
        return unknown("offsets", "what was appended did not come back")
    if wrong := next(_wrong(log, replies), None):
        return failed("offsets", wrong, "up to date" if UP_TO_DATE in wrong else None)
    return passed(
        "offsets", "two chunks and the end of a stream are each found at their own offset, twice"
    )


def _wrong(log: _Log, replies: Mapping[str, list[ProbeReply]]) -> Iterator[str]:
    for pair in zip(*replies.values(), strict=True):
        for offset, reply in zip(replies, pair, strict=True):
            if wrong := log.read_at(offset, reply):
                yield f"{wrong}{cache_claims(reply)}"


async def _kept(deployment: Deployment, log: _Log, again: ProbeReply) -> Finding:
    """Check that the second read of a whole chunk is answered from a copy that has its age."""
    lifetime_s = shared_lifetime_s(again.headers)
    looks = 0
    while source(again) is AnswerSource.OWN and claims_missed(again.headers) and looks < MORE_LOOKS:
        looks += 1
        again = await _read(log, log.second)
    if source(again) is AnswerSource.SHARED:
        found = _with_age(again)
        return (found.is_pass and await _by_order(log)) or found
    if deployment.asker.has_credentials:
        return noted("chunks kept", "reads with credentials are not answered from copies")
    if lifetime_s is None or lifetime_s < SHORTEST_KEPT_S:
        return noted("chunks kept", "the server lets no cache keep a chunk for a minute")
    if claims_missed(again.headers):
        saw = f"a chunk that may be stored for {lifetime_s} s is in no cache at read {2 + looks}"
        return failed("chunks kept", f"{saw}{cache_claims(again)}")
    return _without_copy(again)


async def _by_order(log: _Log) -> Finding | None:
    """Return a note if a copy is found by one order of its parameters only."""
    orders = [f"cursor=order&offset={log.second}", f"offset={log.second}&cursor=order"]
    bounds = ProbeBounds(most_bytes=len(log.data))
    _, again, other = [
        await log.own.asker.send(log.own.with_raw_query(order), "GET", bounds=bounds)
        for order in (orders[0], *orders)
    ]
    if is_copy(again) and not is_copy(other):
        return noted("chunks kept", "a cache keeps a copy for each order of the same parameters")
    return None


def _without_copy(again: ProbeReply) -> Finding:
    """Say what is known where no cache before the server says that it looked for a copy."""
    if claims_kept(again.headers):
        return passed("chunks kept", "no cache before the server; its own has the chunk")
    if source(again) is AnswerSource.OWN:
        return noted("chunks kept", "no cache before the server keeps a chunk")
    return unknown("chunks kept", "nothing says whether an answer comes from a cache")


def _with_age(reply: ProbeReply) -> Finding:
    age = reply.headers.get("Age")
    if age is None and DIGEST_HEADER in reply.headers:
        return passed("chunks kept", "the second read of a chunk is a copy")  # as nginx gives it
    if age is None:
        return failed("chunks kept", f"the copy of a chunk has no Age{cache_claims(reply)}")
    if age.isdecimal() and int(age[:9]) > OLDEST_S:
        saw = f"the copy of a chunk that was just appended has an Age of {age[:9]}"
        return failed("chunks kept", saw)
    return passed("chunks kept", f"the second read of a chunk is a copy, with an Age of {age[:9]}")


def shared_lifetime_s(headers: Mapping[str, str]) -> int | None:
    """Return how long shared caches may keep an answer; None if it does not say."""
    for name in ("CDN-Cache-Control", "Surrogate-Control"):
        if match := _LIFETIME.search(headers.get(name, "")):
            return int(match[1])
    said = headers.get("Cache-Control", "")
    if match := _SHARED_LIFETIME.search(said):
        return int(match[1])
    match = _LIFETIME.search(said)
    return None if match is None or _NOT_SHARED.search(said) else int(match[1])
