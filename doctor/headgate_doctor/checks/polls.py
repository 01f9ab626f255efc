"""Checks whether equal long-polls are one at the server, and how they end without news."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING

from headgate.errors import StreamError
from headgate.names import CURSOR, NEXT_OFFSET, UP_TO_DATE
from headgate_doctor.evidence import (
    AnswerSource,
    cache_claims,
    claims_kept,
    is_headgate,
    source,
)
from headgate_doctor.finding import FAILURES, Finding, failed, noted, passed, unknown
from headgate_doctor.probe_sender import ProbeBounds, TooManyRequests, words
from headgate_doctor.script.line import ANY
from headgate_doctor.streams import given_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_doctor.deployment import Deployment
    from headgate_doctor.finding import Check
    from headgate_doctor.probe_sender import ProbeReply
    from headgate_doctor.streams import OwnStream

# Enough to tell one request from one for each reader.
READERS = 20
NEWS = b"news"
# A place of a CDN has a few servers, each of which may ask once.
MOST_AT_SERVER = 4
# For all polls to arrive, over new connections with TLS.
SETTLE_S = 1.5
# News take a round trip; with nginx, collapsed requests look for the response each half second.
PROMPT_S = 3.0
# A 204 may be kept for a second, of which nginx, counting whole ones, makes almost two.
LATER_S = 2.5
# Longer than CDNs wait for a response. Longer polls are reported as given up.
LONGEST_POLL_S = 100.0
AT_ONCE_S = 0.5
LONG_S = 30.0  # for polls that end after 20 s
CURSOR_PARAMETER = "cursor"
OF_QUIET_POLLS: tuple[Check, ...] = ("204 together", "204 kept", "cursor", "poll held")
GATEWAY_TIMEOUTS = {502, 503, 504, 520, 522, 524}


@dataclass(frozen=True, slots=True)
class Poll:
    """The end of a long-poll, in seconds after the first was sent; without a reply it was `cut`.

    Polls that a slow machine sends late may get the reply of the first.
    """

    took_s: float
    ended_s: float
    reply: ProbeReply | None = None
    cut: str = ""
    is_limited: bool = False

    @property
    def is_good(self) -> bool:
        """True if the poll got a reply, with news or without."""
        return self.reply is not None and self.reply.is_good

    @property
    def is_timeout(self) -> bool:
        """True if a hop did not wait as long as the server."""
        return self.reply is not None and self.reply.status in GATEWAY_TIMEOUTS

    @property
    def is_refused(self) -> bool:
        """True if a hop or the server has too many requests; a time-out takes longer."""
        is_busy = self.reply is not None and self.reply.status == HTTPStatus.SERVICE_UNAVAILABLE
        return self.is_limited or (is_busy and self.took_s < SETTLE_S)

    @property
    def status(self) -> str:
        """The status of the reply, or why there is none."""
        return self.cut if self.reply is None else str(self.reply.status)


class EqualPolls:
    """Twenty equal long-polls, which are sent at once and cancelled when the block ends."""

    def __init__(self, own: OwnStream, query: dict[str, str]) -> None:
        self._own = own
        self._query = query
        self._began_s = asyncio.get_running_loop().time()
        self.pending: set[asyncio.Task[Poll]] = set()
        self.ended: list[Poll] = []

    async def __aenter__(self) -> EqualPolls:
        """Send them all at once."""
        self.pending = {asyncio.create_task(self._poll()) for _ in range(READERS)}
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the polls that have not ended."""
        for task in self.pending:
            task.cancel()
        await asyncio.gather(*self.pending, return_exceptions=True)

    async def first(self, within_s: float) -> Poll | None:
        """Return the poll that ends first; None if the time is over before."""
        await self._wait(within_s, asyncio.FIRST_COMPLETED)
        return min(self.ended, key=attrgetter("ended_s"), default=None)

    async def all(self, within_s: float) -> None:
        """Wait until all have ended, or the time is over; slow responses get a longer time."""
        with contextlib.suppress(TimeoutError):
            ended = self._wait(None, asyncio.ALL_COMPLETED)
            await given_time(ended, self._own, within_s)
        await self._wait(0, asyncio.ALL_COMPLETED)

    async def _wait(self, within_s: float | None, until: str) -> None:
        if self.pending:
            done, self.pending = await asyncio.wait(
                self.pending, timeout=within_s, return_when=until
            )
            self.ended += [task.result() for task in done]

    async def _poll(self) -> Poll:
        loop = asyncio.get_running_loop()
        try:
            reply = await self._own.asker.send(
                self._own.stream,
                "GET",
                query=self._query,
                bounds=ProbeBounds(within_s=LONGEST_POLL_S + PROMPT_S),
            )
        except FAILURES as failure:
            is_limited = isinstance(failure, TooManyRequests)
            took_s = loop.time() - self._began_s
            return Poll(took_s, loop.time(), cut=words(failure), is_limited=is_limited)
        return Poll(loop.time() - self._began_s, loop.time(), reply)


async def with_news(deployment: Deployment) -> Finding:
    """Check how many of twenty equal long-polls reach the server, and how soon all get news."""
    own = await deployment.streams.create("-polls")
    query = _ahead_of_clock(await _live_query(own))
    async with EqualPolls(own, query) as polls:
        ended = await polls.first(SETTLE_S)
        if ended is not None:
            return _ended_early(polls, ended)
        tail = await own.append(NEWS)
        appended_s = asyncio.get_running_loop().time()
        await polls.all(PROMPT_S)
        late = len(polls.pending)
    if wrong := _unanswered(polls, late):
        return wrong
    last_s = max(0.0, *(poll.ended_s - appended_s for poll in polls.ended))
    slowest = f"the last answered {last_s:.1f} s after it"
    replies = [poll.reply for poll in polls.ended if poll.reply is not None]
    if wrong := _without_news(replies, tail):
        return wrong
    is_cached = bool(deployment.reads.is_cached) and await _are_polls_kept(own, query)
    return _finding_of_replies(deployment, replies, slowest, is_cached=is_cached)


def _unanswered(polls: EqualPolls, late: int) -> Finding | None:
    """Return the finding if a poll failed or got nothing in time; else None."""
    bad = [poll for poll in polls.ended if not poll.is_good]
    if any(poll.is_timeout for poll in bad):
        return unknown("equal polls", f"a hop ended {len(bad)} of {READERS} before news came")
    if bad:
        return failed(
            "equal polls", f"{len(bad)} of {READERS} failed as news came: {bad[0].status}"
        )
    if late:
        return failed(
            "equal polls", f"{late} of {READERS} had no answer {PROMPT_S:g} s after an append"
        )
    return None


def _without_news(replies: Sequence[ProbeReply], tail: str) -> Finding | None:
    """Return the finding if a reply lacks the append or its offset; else None."""
    if any(reply.status == HTTPStatus.NO_CONTENT for reply in replies):
        return unknown("equal polls", "some ended with a 204 before the append")
    others = [reply for reply in replies if reply.body != NEWS]
    if others:
        saw = f"{len(others)} of {READERS} got something else than the append"
        return failed("equal polls", f"{saw}{cache_claims(others[0])}", "polls' data")
    lacking = _lacking(replies, {NEXT_OFFSET: tail, UP_TO_DATE: "true"})
    return failed("equal polls", lacking, "headers") if lacking else None


def _lacking(replies: Sequence[ProbeReply], fields: Mapping[str, str]) -> str | None:
    """Return a sentence about the first field that is missing or has another value, or None."""
    for reply in replies:
        for name, wanted in fields.items():
            seen = reply.headers.get(name)
            if seen is None or wanted not in {seen, ANY}:
                has = "no" if seen is None else "another"
                return f"the {reply.status} of a long-poll has {has} {name}"
    return None


async def _are_polls_kept(own: OwnStream, query: Mapping[str, str]) -> bool:
    """Return whether a cache keeps the answers of long-polls, so that it has to collapse them."""
    replies = [await own.read(query) for _ in range(2)]
    return source(replies[-1]) is AnswerSource.SHARED


def _ended_early(polls: EqualPolls, ended: Poll) -> Finding:
    refused = sum(poll.is_refused for poll in polls.ended)
    if not refused or ended.is_limited:  # of which the examination has a finding of its own
        return unknown("equal polls", f"one ended after {ended.took_s:.1f} s: {ended.status}")
    saw = f"{refused} of {READERS} readers at one address were refused at once: {ended.status}"
    return failed("equal polls", saw, "rate limit")


def _finding_of_replies(
    deployment: Deployment, replies: Sequence[ProbeReply], slowest: str, *, is_cached: bool
) -> Finding:
    """Return the finding for polls that all got news; `is_cached` if a cache stores them."""
    sources = [source(reply) for reply in replies]
    if AnswerSource.UNKNOWN in sources:
        return unknown("equal polls", "nothing says whether an answer comes from a cache")
    reached = sources.count(AnswerSource.OWN)
    saw = f"of {READERS} that an append ended, {reached} reached the server; {slowest}"
    if reached <= MOST_AT_SERVER:
        return passed("equal polls", saw)
    is_one = all(claims_kept(reply.headers) for reply in replies)
    if is_cached or (deployment.reads.is_cached and not is_one):
        return failed("equal polls", saw)
    if deployment.reads.is_cached is not None and is_one:
        way = "past the cache before it" if deployment.reads.is_cached else "no cache before it"
        return passed("equal polls", f"{saw}; {way}, and the server collapsed them itself")
    if not is_cached and _are_apart(replies):
        return failed("equal polls", f"{saw}, which got them as different ones", "queries")
    return unknown("equal polls", f"{saw}, and nothing says that any cache should collapse them")


def _are_apart(replies: Sequence[ProbeReply]) -> bool:
    """Return whether a Headgate, which collapses equal polls, has collapsed none of these."""
    return all(is_headgate(it.headers) and not claims_kept(it.headers) for it in replies)


async def without_news(deployment: Deployment) -> list[Finding]:
    """Check whether equal polls without news end together, when, and what the next one gets."""
    own = await deployment.streams.create("-quiet")
    query = await _live_query(own)
    async with EqualPolls(own, query) as polls:
        first = await polls.first(LONGEST_POLL_S)
        if first is None:
            saw = f"polls were still held after {LONGEST_POLL_S:g} s, and were given up"
            return [unknown(name, saw) for name in OF_QUIET_POLLS]
        held = _finding_of_end(first, own)
        if not first.is_good:
            saw = "polls do not end as they should"
            return [*(unknown(name, saw) for name in OF_QUIET_POLLS[:-1]), held]
        following = asyncio.create_task(_followed(own, first))
        # Where they wait for each other, the second one takes as long again as the first.
        await polls.all(min(PROMPT_S, max(SETTLE_S, 0.75 * first.took_s)))
        together = _together(polls, first)
        last = max(polls.ended, key=lambda poll: poll.ended_s)
        cursor = await following
    if first.took_s < LATER_S:
        saw = "polls are too short to tell a stored response from a new one"
        kept = unknown("204 kept", saw)
    else:
        kept = await _kept(own, query, last)
    return [together, kept, cursor, held]


def _together(polls: EqualPolls, first: Poll) -> Finding:
    late = len(polls.pending)
    bad = [poll.status for poll in polls.ended if not poll.is_good]
    saw = f"the first of {READERS} polls ended after {first.took_s:.1f} s"
    if bad:
        return failed("204 together", f"{saw}, and {len(bad)} failed: {bad[0]}")
    last = max(poll.took_s for poll in polls.ended)
    if late:
        waited_s = asyncio.get_running_loop().time() - first.ended_s
        return failed(
            "204 together", f"{saw}, and {waited_s:.1f} s later {late} still waited for each other"
        )
    return passed("204 together", f"{saw}, the last after {last:.1f} s")


async def _kept(own: OwnStream, query: dict[str, str], last: Poll) -> Finding:
    """Check whether a later reader waits, instead of getting the old reply at once."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, last.ended_s + LATER_S - loop.time()))
    asked_s = loop.time()
    try:
        reply = await own.asker.send(
            own.stream, "GET", query=query, bounds=ProbeBounds(within_s=LATER_S / 2)
        )
    except StreamError as refusal:
        if isinstance(refusal.__cause__, TimeoutError):
            return passed("204 kept", f"the same poll waits again {LATER_S:g} s later")
        return unknown("204 kept", "the same poll could not be asked for again")
    if not reply.is_good:
        return unknown("204 kept", f"the same poll was then answered with: {reply.error_text}")
    return failed(
        "204 kept", f"the same poll, {asked_s - last.ended_s:.1f} s later, was answered at once"
    )


async def _followed(own: OwnStream, first: Poll) -> Finding:
    """Check that the next poll, with the cursor of the answer, is not given that answer again."""
    assert first.reply is not None, "only good polls are followed"
    cursor = first.reply.headers.get(CURSOR)
    if cursor is None or first.took_s < LATER_S:
        return unknown("cursor", "polls are too short, or give no cursor for the next one")
    query = {"live": "long-poll", "offset": own.start, "cursor": cursor}
    try:
        reply = await own.asker.send(
            own.stream, "GET", query=query, bounds=ProbeBounds(within_s=LATER_S / 2)
        )
    except StreamError as refusal:
        if isinstance(refusal.__cause__, TimeoutError):
            return passed("cursor", "the next poll, with the new cursor, waits")
        return unknown("cursor", "the next poll could not be asked for")
    if not reply.is_good:
        return unknown("cursor", f"the next poll was answered with: {reply.error_text}")
    return failed(
        "cursor", f"the next poll, with the new cursor, was answered at once{cache_claims(reply)}"
    )


def _finding_of_end(first: Poll, own: OwnStream) -> Finding:
    if first.is_refused:
        return unknown("poll held", f"a poll was refused at once: {first.status}")
    if first.reply is not None and first.reply.status == HTTPStatus.OK:
        if first.took_s > SETTLE_S and source(first.reply) is not AnswerSource.SHARED:
            saw = f"a poll ended after {first.took_s:.1f} s without news, with 200 instead of 204"
            return failed("poll held", saw, "204 changed")
        # However long it took: what ends a poll without news is a 204.
        saw = "a poll for news was answered without any, with the 200 of a read that is not live"
        return failed("poll held", f"{saw}{cache_claims(first.reply)}", "live in key")
    return _finding_of_hold(first, own)


def _finding_of_hold(first: Poll, own: OwnStream) -> Finding:
    after = f"after {first.took_s:.1f} s"
    if first.reply is None:
        return failed("poll held", f"a poll ended {after} without an answer: {first.cut}")
    if first.is_timeout:
        return failed("poll held", f"a hop ended a poll {after} with {first.reply.status}")
    if not first.reply.is_good:
        saw = f"a poll ended {after}: {first.reply.error_text}"
        # A refusal at once is no time-out: other checks find its cause.
        is_refusal = first.took_s < AT_ONCE_S and first.reply.status < 500
        return unknown("poll held", saw) if is_refusal else failed("poll held", saw)
    if first.took_s < AT_ONCE_S:
        return unknown("poll held", "a poll for news was answered at once, without any")
    lacking = _lacking([first.reply], {NEXT_OFFSET: own.start, UP_TO_DATE: "true", CURSOR: ANY})
    return failed("poll held", lacking, "headers") if lacking else held(first, first.reply)


def held(first: Poll, reply: ProbeReply) -> Finding:
    """Return the finding of a poll that ended as it should, after however long."""
    after = f"after {first.took_s:.1f} s"
    if first.took_s > LONG_S and is_headgate(reply.headers):
        saw = f"a poll without news ended {after}: live.long_poll_timeout is longer than the 20 s"
        return noted("poll held", f"{saw} that it is unless set, or a hop asks again after a 204")
    return passed("poll held", f"a poll was held, and ended {after} with {reply.status}")


async def _live_query(own: OwnStream) -> dict[str, str]:
    """Return the query of a client that has caught up, with its cursor, if any."""
    caught_up = await own.read({"offset": own.start})
    cursor = caught_up.headers.get(CURSOR)
    query = {"live": "long-poll", "offset": own.start}
    return query if cursor is None else query | {"cursor": cursor}


def _ahead_of_clock(query: dict[str, str]) -> dict[str, str]:
    """Return the query with a cursor that is later than the server's clock, if it has a cursor.

    Only then the server lets the data be cached, also if the poll is held until the next interval.
    """
    cursor = query.get(CURSOR_PARAMETER, "")
    return query | {CURSOR_PARAMETER: str(int(cursor) + 1)} if cursor.isdecimal() else query
