"""Holds the conversation of `script`, and says what is wrong with each response."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from headgate.errors import StreamError
from headgate.names import CLOSED, PRODUCER_ID, is_closed
from headgate_doctor.checks import fields
from headgate_doctor.checks.judging import (
    Mismatch,
    has_wrong_body,
    is_of_hop,
    mismatches,
)
from headgate_doctor.evidence import cache_claims, is_copy, is_headgate
from headgate_doctor.finding import FAILURES, Finding, ProbeFailed, failed, noted, passed, unknown
from headgate_doctor.probe_sender import (
    REQUEST_ID,
    USUAL,
    ProbeBounds,
    TooManyRequests,
    words,
)
from headgate_doctor.script.copies import COPIES, QUERIES
from headgate_doctor.script.life import DELETION, ENDED, OPEN, PRODUCER
from headgate_doctor.script.line import BYTES, MADE, SEQ, ScriptLine
from headgate_doctor.streams import end_of_lifetime, with_raw_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate.stream_requests import StreamRequests
    from headgate_doctor.deployment import Deployment
    from headgate_doctor.finding import Check
    from headgate_doctor.probe_sender import ProbeReply

PASSES: Mapping[Check, str] = {
    "headers": "responses have every field that readers and writers need, with its own value",
    "request fields": "the fields of requests arrive",
    "statuses": "what is done has its own status",
    "refusals": "what is refused has the status and the fields that say why",
    "repeated append": "an append that was sent twice with the same Producer fields is stored once",
    "tags": "a tag is confirmed until something is appended, and no longer",
    "bodies": "pages and JSON are stored and read as they were sent",
    "copies": "a read gets no response to a HEAD, a part, a tag, or another encoding",
    "queries": "queries arrive as they are sent, and copies are found in any order of one",
    "removal": "a deleted stream is gone",
}
OF_CONVERSATION: tuple[Check, ...] = tuple(PASSES)
# Of the fields that a read has. If more are missing, the hop passes on a limited number of fields.
MOST_MISSING = 2
NOT_CLOSED = "a stream was not closed: the Stream-Closed of the request does not arrive"
# For a live read of data that is there. If it got lost, the server waits for data.
LIVE_S = 5.0
# Sentences of a finding: more would hide the first, which mostly is the cause.
MOST_SHOWN = 3
_OF_STREAMS = re.compile("Stream-|Producer-")
_ORDERS = (
    "cursor=order&live=long-poll&offset=-1",
    "live=long-poll&offset=-1&cursor=order",
    "offset=-1&cursor=order&live=long-poll",
)
# Two queries that are the same key for a cache that writes keys in lower case.
_CASES = ("cursor=Doctor&offset=-1", "cursor=dOCTOR&offset=-1")
_OTHER = "cursor=another&offset=-1"


@dataclass(slots=True)
class _Conversation:
    """The state of a conversation between two of its lines."""

    # By the ends of their names.
    streams: Mapping[str, StreamRequests]
    # Values of response fields that later lines use, by the names that these use.
    kept: dict[str, str]
    mismatches: list[Mismatch] = field(default_factory=list)
    # The stream and the query of each request, by the id of the request.
    queries: dict[str, tuple[str, str]] = field(default_factory=dict)
    # Streams of which a write was lost, or stored twice.
    spoiled: set[str] = field(default_factory=set)
    # Why the conversation ended before its last line; "" if it did not.
    end: str = ""


async def conversation(deployment: Deployment) -> list[Finding]:
    """Check the response to each kind of request."""
    reads = deployment.reads
    if reads.first.is_good and not reads.first.body:
        raise ProbeFailed("what is appended does not arrive")
    made = {name: deployment.streams.planned_to_be_made(name) for name in MADE}
    site = (*deployment.options.origins, fields.SITES[0])[0]
    kept = {"site": site, "expires": end_of_lifetime(), "later": end_of_lifetime(2)}
    kept["here"] = urlsplit(reads.own.stream.url).netloc.rpartition("@")[2]
    talk = _Conversation({**made, BYTES: reads.own.stream}, kept)
    if not (reads.is_closed and is_closed(reads.first.headers)):
        talk.spoiled.add(BYTES)
    if reads.is_close_lost:
        talk.mismatches.append(Mismatch("request fields", NOT_CLOSED, lost_field=CLOSED))
    is_ours = is_headgate(reads.first.headers)
    for line in (*OPEN, *PRODUCER, *ENDED, *COPIES, *QUERIES, *DELETION):
        if is_ours or not line.needs_headgate:
            await _send_line(deployment, talk, line)
        if talk.end:
            break
    note = None if talk.end else await _queries(deployment, talk)
    if crossed := await fields.live_is_in_key(deployment):
        talk.mismatches.append(Mismatch("headers", crossed, "live in key"))
    return list(_findings(deployment, talk, note))


async def _send_line(deployment: Deployment, talk: _Conversation, line: ScriptLine) -> None:
    """Send the request of a line, unless it needs what was not kept, and judge the response."""
    if line.stream in talk.spoiled and _needs_state(line):
        return
    if (filled := _filled(line, talk.kept)) is None:
        return
    query, sends = filled
    await asyncio.sleep(line.after_s)
    try:
        reply = await _response_to(deployment, talk, line, query, sends)
    except TooManyRequests as limit:
        talk.end = words(limit)
    except FAILURES as failure:
        saw = f"{line.name} had no valid response: {words(failure)}"
        if _is_silence(failure) and not line.is_live:
            talk.end = saw
        elif line.stream not in talk.spoiled:
            talk.mismatches.append(Mismatch(line.check, saw, line.advice))
    else:
        _judge(talk, line, query, reply)


def _filled(line: ScriptLine, kept: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """Return the query and the fields of a request; None if they need what was not kept."""
    try:
        query = line.query.format_map(kept)
        return query, {name: value.format_map(kept) for name, value in line.sends.items()}
    except KeyError:
        return None


async def _response_to(
    deployment: Deployment,
    talk: _Conversation,
    line: ScriptLine,
    query: str,
    sends: Mapping[str, str],
) -> ProbeReply:
    # A live read is not answered at once, so its time is not that of other requests.
    bounds = ProbeBounds(within_s=LIVE_S) if line.is_live else USUAL
    return await deployment.asker.send(
        with_raw_query(talk.streams[line.stream], query),
        line.method,
        headers=sends,
        body=line.body,
        bounds=bounds,
    )


def _needs_state(line: ScriptLine) -> bool:
    """Return whether the response depends on what was appended before."""
    is_of_writes = not {PRODUCER_ID, SEQ}.isdisjoint(line.sends) or CLOSED in line.has
    return line.gives is not None or line.check == "tags" or is_of_writes


def _of_another_url(
    talk: _Conversation, line: ScriptLine, query: str, reply: ProbeReply
) -> Mismatch | None:
    """Return the mismatch if a response was made for another URL, else None.

    URLs that differ only in a cursor count as one: it has no meaning in a read that is not live.
    """
    talk.queries[reply.request_id] = line.stream, query
    of_stream, other = talk.queries.get(reply.headers.get(REQUEST_ID, ""), (line.stream, query))
    differ = dict(parse_qsl(query)).items() ^ dict(parse_qsl(other)).items()
    names = {name for name, _ in differ} - {"cursor"}
    if line.method != "GET" or of_stream != line.stream or not names:
        return None
    saw = f"{query} got the response to {other}{cache_claims(reply)}"
    return Mismatch("queries", saw, "live in key" if "live" in names else "offsets")


def _is_silence(failure: Exception) -> bool:
    return isinstance(failure, StreamError) and isinstance(failure.__cause__, TimeoutError)


def _judge(talk: _Conversation, line: ScriptLine, query: str, reply: ProbeReply) -> None:
    """Note what is wrong with a response, and the values that later lines use."""
    if (crossed := _of_another_url(talk, line, query, reply)) is not None:
        talk.mismatches.append(crossed)
        return
    is_spoiled = line.stream in talk.spoiled
    talk.mismatches += mismatches(talk.kept, line, reply, is_spoiled=is_spoiled)
    if line.is_needed and reply.status not in line.status:
        talk.end = f"{line.name} was answered {reply.status}"
    is_write = line.method in {"PUT", "POST"}
    is_not_done = reply.status not in line.status or is_of_hop(line, reply)
    if is_not_done if is_write else has_wrong_body(line, reply):
        talk.spoiled.add(line.stream)
    if reply.status not in line.status:
        return
    values = {name: reply.headers.get(of) for name, of in line.keeps.items()}
    talk.kept |= {name: value for name, value in values.items() if value is not None}


async def _queries(deployment: Deployment, talk: _Conversation) -> str | None:
    """Check keys by case and order; return a note if copies are found by one order only."""
    stream = talk.streams[BYTES]
    try:
        replies = [
            await deployment.asker.send(with_raw_query(stream, query), "GET")
            for query in (*_CASES, _OTHER, _ORDERS[0], *_ORDERS)
        ]
    except FAILURES as failure:
        talk.end = words(failure)
        return None
    _, other, unequal, _, again, *orders = replies
    # If the key has no cursor at all, a copy does not show that its case is ignored.
    if is_copy(other) and not is_copy(unequal):
        saw = f"{_CASES[1]} was answered with the response to {_CASES[0]}{cache_claims(other)}"
        saw = f"{saw}: a cache writes its keys in lower case"
        talk.mismatches.append(Mismatch("queries", saw))
    for query, reply in zip(_ORDERS[1:], orders, strict=True):
        if again.is_good and (reply.status, reply.body) != (again.status, again.body):
            saw = f"{query} has another answer ({reply.status}) than {_ORDERS[0]} ({again.status})"
            talk.mismatches.append(Mismatch("queries", saw))
            return None
    if is_copy(again) and not all(map(is_copy, orders)):
        return "a cache keeps a copy for each order of the same parameters"
    return None


def _findings(deployment: Deployment, talk: _Conversation, note: str | None) -> Iterator[Finding]:
    """Yield a finding for each check of the conversation."""
    lost = {one.lost_field for one in talk.mismatches}
    # The response cannot have a field that did not arrive with the request.
    wrong = [one for one in talk.mismatches if one.field not in lost or not one.field]
    for check, saw in PASSES.items():
        of_check = [one for one in wrong if one.check == check]
        if of_check:
            yield _failure(check, of_check)
        elif talk.end:
            yield unknown(check, talk.end)
        elif check == "queries" and note:
            yield noted(check, note)
        elif check == "headers" and (vary := fields.vary(deployment.reads.again)):
            yield vary
        else:
            yield passed(check, saw)


def _failure(check: Check, wrong: list[Mismatch]) -> Finding:
    first: dict[str, Mismatch] = {}
    for one in wrong:
        first.setdefault(one.missing or one.saw, one)
    shown = "; ".join(one.saw for one in [*first.values()][:MOST_SHOWN])
    more = len(first) - MOST_SHOWN
    missing = {one.missing for one in first.values() if one.missing}
    # The first cause is mostly that of the others.
    advice = next(iter(first.values())).advice
    if len(missing) > MOST_MISSING and not all(map(_OF_STREAMS.match, missing)):
        advice = "long heads"  # a hop has dropped them because there are many, whatever their names
    return failed(check, f"{shown}; and {more} more" if more > 0 else shown, advice)
