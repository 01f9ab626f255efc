"""An examination: it makes streams, runs the checks concurrently, and removes the streams."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from headgate_doctor.advice import ADVICE
from headgate_doctor.checks import (
    appends,
    caching,
    conversation,
    events,
    fields,
    offsets,
    polls,
    private,
    writes,
)
from headgate_doctor.deployment import (
    DATA,
    DEFAULTS,
    Deployment,
    ExaminationOptions,
    TwoReads,
    read_twice,
)
from headgate_doctor.evidence import is_headgate
from headgate_doctor.finding import FAILURES, Finding, ProbeFailed, failed, passed, unknown
from headgate_doctor.output import counted
from headgate_doctor.probe_sender import (
    ProbeBounds,
    ProbeSender,
    RequestBudget,
    words,
)
from headgate_doctor.streams import AppendRefused, NotMade, OwnStreams
from headgate_doctor.target import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from headgate_doctor.finding import Check
    from headgate_doctor.probe_sender import ProbeReply
    from headgate_doctor.target import ExaminedTarget

T = TypeVar("T")

# The longest poll that is waited for, and the requests around it; no server makes it longer.
LONGEST_S = 130.0
QUEUED_S = 30.0
AFTERWARDS = "5"  # a cursor of which nobody has a copy


@dataclass(frozen=True, slots=True)
class _Row:
    """A check, what it finds out, and whether it can without what it appends."""

    finds: tuple[Check, ...]
    check: Callable[[Deployment], Awaitable[Finding | list[Finding]]]
    needs_appends: bool = True


CHECKS = (
    _Row(("paths",), caching.paths),
    _Row(("credentials",), caching.credentials, needs_appends=False),
    _Row(("equal polls",), polls.with_news),
    _Row(polls.OF_QUIET_POLLS, polls.without_news, needs_appends=False),
    _Row(events.OF_EVENTS, events.server_sent_events),
    _Row(events.OF_JOINS, events.events_joined),
    _Row(("SSE kept",), events.events_kept),
    _Row(("HEAD",), writes.head),
    _Row(("POST body", "large append"), appends.bodies, needs_appends=False),
    _Row(conversation.OF_CONVERSATION, conversation.conversation, needs_appends=False),
    _Row(writes.OF_TAILS, writes.empty_tail),
    _Row(("early 404",), writes.early_404, needs_appends=False),
    _Row(offsets.OF_CHUNKS, offsets.chunks),
    _Row(("CORS",), fields.cors, needs_appends=False),
    _Row(("reader-key",), private.reader_key),
    _Row(("private reads",), private.private_reads),
    _Row(("configuration",), fields.configuration, needs_appends=False),
)
# Findings of the examination as a whole.
BESIDE: tuple[Check, ...] = (
    *("one server", "sent once", "waiting readers", "cookies", "rate limit"),
)


class Unusable(ProbeFailed):
    """There is nothing to examine at this URL, or it cannot be examined."""


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings of an examination, in the order of the checks, and its cost."""

    findings: tuple[Finding, ...]
    requests: int
    took_s: float
    # URLs of streams that could not be removed.
    leftovers: tuple[str, ...]


async def examine(
    target: ExaminedTarget,
    note: Callable[[str], None],
    options: ExaminationOptions = DEFAULTS,
) -> Examination:
    """Examine what is in front of a server; `target` is a stream that does not exist yet.

    Raises Unusable if there is nothing to examine. However the examination ends, its streams are
    removed; those that could not be are noted.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    asker = ProbeSender(RequestBudget(), has_credentials=target.has_credentials)
    left: list[str] = []
    async with connect(target) as stream:
        streams = OwnStreams(asker, stream)
        async with _removed(streams, left, note):
            reads = await _usable(_begin(streams, target))
            deployment = Deployment(asker, streams, reads, options)
            findings = (*await _examined(deployment), _cookies(asker), _limits(asker))
    return Examination(findings, asker.budget.spent, loop.time() - began_s, tuple(left))


async def _usable(work: Awaitable[T]) -> T:
    """Return the result of the first requests. Raises Unusable if one of them fails."""
    try:
        return await work
    except FAILURES as failure:
        raise Unusable(words(failure)) from failure


@contextlib.asynccontextmanager
async def _removed(
    streams: OwnStreams, leftovers: list[str], note: Callable[[str], None]
) -> AsyncIterator[None]:
    try:
        yield
    finally:
        leftovers += await streams.remove()
        for name in leftovers:
            note(f"{name} could not be removed; it expires within an hour.")


async def _begin(streams: OwnStreams, target: ExaminedTarget) -> TwoReads:
    try:
        own = await streams.create()
    except NotMade as refusal:
        raise ProbeFailed(_why_none(refusal, target)) from refusal
    is_missing = is_written = is_closed = is_close_lost = False
    try:  # the check of POST says more of what goes wrong
        await own.append(DATA)
        is_written = True
        await own.append(b"", close=True)
        is_closed = True
    except AppendRefused as refusal:
        is_missing = refusal.reply.status == 404
        is_close_lost = is_written and refusal.reply.status == 400
    except FAILURES:
        pass
    return await read_twice(
        own, is_missing=is_missing, is_closed=is_closed, is_close_lost=is_close_lost
    )


def _why_none(refusal: NotMade, target: ExaminedTarget) -> str:
    """Return why no stream can be created there, and what to do."""
    status = refusal.reply.status
    if status in {401, 403, 407}:
        if target.authorization is not None:
            return f"the credentials in STREAM_AUTH are refused: {target.advice} ({status})"
        return f"it needs credentials: {target.advice} ({status})"
    if 300 <= status < 400:
        return f"it redirects to {_place(refusal.reply)}: give the URL where the streams are"
    if status == 429 or status >= 500:
        return str(refusal)
    return f"it is not a Durable Streams endpoint: {refusal}"


def _place(reply: ProbeReply) -> str:
    """Return where a redirect leads, harmless to a terminal and without secrets."""
    location = reply.headers.get("Location", "").partition("?")[0].partition("#")[0]
    scheme, mark, rest = location.rpartition("//")
    host, slash, path = rest.partition("/")
    place = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"[:200]
    return "".join(one for one in place if "!" <= one <= "~") or "nowhere"


async def _examined(deployment: Deployment) -> tuple[Finding, ...]:
    """Run the checks, unless requests come to several servers, or come twice."""
    reads = deployment.reads
    asked = 2 + len(reads.more)
    if reads.missed:
        saw = f"{reads.missed} of {asked} reads of a stream that was made found none"
        wrong = failed("one server", f"{saw}, and the others found it")
        other = "requests come to servers that have not the same streams"
    elif reads.is_doubled:
        wrong = failed("sent once", "what was appended once is there twice")
        other = "what is appended is there twice"
    else:
        same = passed("one server", "a stream is found by whoever asks for it")
        found = (*await _findings(deployment), await _waiting(deployment))
        return (same, _sent_once(reads, found), *found)
    rows = [row for row in CHECKS if row.check is not fields.configuration]
    return (wrong, *(finding for row in rows for finding in _all_unknown(row, other)))


def _sent_once(reads: TwoReads, found: tuple[Finding, ...]) -> Finding:
    """Return the finding about the first append, which fails only if no other check says why."""
    check: Check = "sent once"
    if reads.appends_arrive:
        return passed(check, "what was appended once is there once")
    saw = "what is appended does not arrive"
    if any(finding.is_failure for finding in found):
        return unknown(check, saw)
    status = reads.first.status
    advice = "rewritten" if reads.first.is_good else "statuses"
    return failed(check, f"{saw}: a read of it was answered {status}, with other data", advice)


async def _waiting(deployment: Deployment) -> Finding:
    """Say whether others were answered while readers waited, now that none waits any more."""
    check: Check = "waiting readers"
    unanswered, readers = deployment.asker.unanswered, 2 * polls.READERS
    if not unanswered:
        return passed(check, f"others were answered while {readers} long-polls waited")
    saw = f"{counted(unanswered, 'request')} had no answer while up to {readers} long-polls waited"
    try:
        own, query = deployment.reads.own, {"cursor": AFTERWARDS, "offset": "-1"}
        # A hop may go on with the polls of those who have left.
        bounds = ProbeBounds(within_s=QUEUED_S)
        reply = await own.asker.send(own.stream, "GET", query=query, bounds=bounds)
    except FAILURES as failure:
        return unknown(check, f"{saw}, nor has one after them: {words(failure)}")
    if not reply.is_good:
        return unknown(check, f"{saw}; one after them was answered {reply.status}")
    return failed(check, f"{saw}, and one after them has")


async def _findings(deployment: Deployment) -> tuple[Finding, ...]:
    """Return the findings of all checks, which run concurrently: they mostly wait."""
    tasks = [asyncio.create_task(_guarded(row, deployment)) for row in CHECKS]
    try:
        await asyncio.wait(tasks, timeout=LONGEST_S)
        return tuple(
            finding
            for task, row in zip(tasks, CHECKS, strict=True)
            for finding in (task.result() if task.done() else _all_unknown(row, "no time is left"))
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cookies(asker: ProbeSender) -> Finding:
    """Say whether a response has set a cookie, which nobody needs to read a stream."""
    if not asker.cookies:
        return passed("cookies", "no response sets a cookie")
    names = ", ".join(sorted(asker.cookies))
    return failed("cookies", f"responses set a cookie: {names}")


def _limits(asker: ProbeSender) -> Finding:
    """Say whether one address may ask as often as an examination does."""
    own = [reply.error_text for reply in asker.limited if is_headgate(reply.headers)]
    if own:
        refused = counted(len(own), "request")
        saw = f"the server itself refused {refused} of one address: {own[0]}"
        return failed("rate limit", saw, "server limit")
    if asker.limited:
        refused = counted(len(asker.limited), "request")
        saw = f"a hop on the way refused {refused} of one address: 429"
        return failed("rate limit", saw)
    return passed("rate limit", "no request was refused as one too many")


async def _guarded(row: _Row, deployment: Deployment) -> list[Finding]:
    """Return the findings of a check; they are "unknown" if something keeps it from looking."""
    if row.needs_appends and not deployment.reads.appends_arrive:
        return _all_unknown(row, "what is appended does not arrive")
    try:
        found = await row.check(deployment)
    except FAILURES as failure:
        return _all_unknown(row, words(failure))
    findings = [found] if isinstance(found, Finding) else found
    for finding in findings:
        assert finding.check in row.finds
        assert (finding.advice or finding.check) in ADVICE
    return findings


def _all_unknown(row: _Row, saw: str) -> list[Finding]:
    return [unknown(name, saw) for name in row.finds]
