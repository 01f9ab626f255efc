"""Checks whether responses to readers with credentials reach nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_doctor.checks.events import EVENT_STREAM, EventWatch
from headgate_doctor.deployment import DATA
from headgate_doctor.evidence import AnswerSource, cache_claims, source
from headgate_doctor.finding import FAILURES, Finding, ProbeFailed, failed, noted, passed, unknown
from headgate_doctor.probe_sender import ProbeBounds
from headgate_doctor.server_names import READER_COOKIE, READER_KEY_PARAMETER
from headgate_doctor.streams import TEXT, ProbeReader, strangers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_doctor.deployment import Deployment
    from headgate_doctor.finding import Check
    from headgate_doctor.probe_sender import ProbeReply
    from headgate_doctor.streams import OwnStream


async def reader_key(deployment: Deployment) -> Finding:
    """Check that a copy under a reader key is for the URL with that key alone."""
    own = await deployment.streams.create_closed("-reader-key", DATA)
    if own.reader_key is None:
        return noted("reader-key", "not examined: the server sends no reader key")
    key, given = own.reader_key, own.stream.authorization
    assert not callable(given), "a command has one credential for as long as it runs"
    first, again = [await _read_as(own, given, {READER_KEY_PARAMETER: key}) for _ in range(2)]
    if not (first.is_good and again.is_good):
        return unknown(
            "reader-key",
            f"a read with it was answered with: {(first.error_text or again.error_text)}",
        )
    others: dict[str, Mapping[str, str]] = {
        "no key": {},
        "another key": {READER_KEY_PARAMETER: _altered(key)},
        "the start of the key": {READER_KEY_PARAMETER: key[:-1]},
    }
    for name, query in others.items():
        for stranger in strangers(own):
            reply = await stranger.read(own, {"offset": own.start, **query})
            if reply.is_good and reply.body == DATA:
                saw = f"a reader with {stranger.name} and {name} got the data"
                return failed("reader-key", f"{saw}{cache_claims(reply)}")
    saw = "the copy of a reader key is served with no other key, and not without one"
    if source(again) is AnswerSource.SHARED:
        return passed("reader-key", f"an equal read has a copy; {saw}")
    return noted("reader-key", f"{saw}; but equal reads share no copy")


def _altered(text: str) -> str:
    """Return another text of the same length; not by its last character, which has spare bits."""
    return ("B" if text.startswith("A") else "A") + text[1:]


async def _read_as(
    own: OwnStream, authorization: str | None, query: Mapping[str, str]
) -> ProbeReply:
    reader = own.as_somebody(authorization)
    return await own.asker.send(reader, "GET", query={"offset": own.start, **query})


CHECK: Check = "private reads"
# For a request to reach the server over a new connection with TLS, while the others wait for it.
UNDER_WAY_S = 1.0
# News take a round trip; nginx looks for the response that it waits for each half second.
PROMPT_S = 3.0
# Reads that need not wait are under way for a round trip: each round is another chance to meet.
ROUNDS = 3


async def private_reads(deployment: Deployment) -> Finding:
    """Check that polls, reads and SSE under way of one reader reach no reader without its right.

    The credential is sent as Authorization and, where the server takes it, as its cookie.
    """
    if not deployment.asker.has_credentials:
        return noted(CHECK, "not examined: without STREAM_AUTH nothing here is private")
    token = deployment.options.reader
    own = await deployment.streams.create("-private", TEXT)
    await own.append(DATA)
    others = strangers(own)
    if token is not None:
        header, dot, signature = token.rpartition(".")
        forged = own.as_somebody(f"{header}{dot}{_altered(signature)}")
        others.append(ProbeReader("an altered read token", forged, {}))
    for stranger in others:
        if (await _read(own, stranger, {"cursor": "0", "offset": own.start})).is_good:
            return noted(CHECK, f"not private: a reader with {stranger.name} may read")
    for owner in await _owners(own, token):
        if wrong := await _given_away(own, owner, others):
            return wrong
    saw = "polls, reads and SSE under way are given to no reader without the credential"
    return passed(CHECK, saw)


async def _owners(own: OwnStream, token: str | None) -> list[ProbeReader]:
    """Return the readers that may read: with an Authorization, a Cookie, or a read token."""
    given = own.stream.authorization
    assert not callable(given), "a command has one credential for as long as it runs"
    others = []
    if given is not None and given.startswith("Bearer "):
        cookie = {"Cookie": f"{READER_COOKIE}={given.removeprefix('Bearer ')}"}
        others.append(ProbeReader("a Cookie", own.as_somebody(None), cookie))
    if token is not None:
        others.append(ProbeReader("a read token", own.as_somebody(token), {}))
    query = {"cursor": "1", "offset": own.start}
    let_in = [one for one in others if (await _read(own, one, query)).is_good]
    return [ProbeReader("an Authorization", own.stream, {}), *let_in]


async def _given_away(
    own: OwnStream, owner: ProbeReader, others: list[ProbeReader]
) -> Finding | None:
    """Return what is wrong with reads of `owner` that `others` send as well, or None."""
    if wrong := await _at_once(own, owner, others):
        return failed(CHECK, wrong)
    tail = {"offset": await own.append(b"1")}
    tasks: dict[ProbeReader, tuple[asyncio.Task[bool], asyncio.Task[bool]]] = {}
    started: list[asyncio.Task[bool]] = []
    try:
        for reader in (owner, *others):
            asked = _is_answered(own, reader, {"live": "long-poll", **tail})
            watched = _has_event(own, reader, {"live": "sse", **tail})
            tasks[reader] = asyncio.create_task(asked), asyncio.create_task(watched)
            started += tasks[reader]
            if reader in {owner, others[-1]}:
                await asyncio.sleep(UNDER_WAY_S)
        await own.append(b"2")
        await asyncio.wait(started, timeout=PROMPT_S)
        for reader, pair in tasks.items():
            got = [task.done() and task.result() for task in pair]
            if reader is not owner and True in got:
                what = "a long-poll" if got[0] else "SSE"
                return failed(CHECK, _got(reader, owner, what))
        poll = tasks[owner][0]
        if not (poll.done() and poll.result()):
            raise ProbeFailed(f"a poll with {owner.name} did not end by an append")
        return None
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


async def _at_once(own: OwnStream, owner: ProbeReader, others: list[ProbeReader]) -> str | None:
    """Return what is wrong with reads of a cold URL that all send at once, and once more after."""
    query: dict[str, str] = {}
    for turn in range(ROUNDS):
        query = {"cursor": f"{len(owner.name)}{turn}", "offset": own.start}
        is_owned, *are_answered = await asyncio.gather(
            *(_is_answered(own, reader, query) for reader in (owner, *others))
        )
        if True in are_answered:
            return _got(others[are_answered.index(True)], owner, "a read")
        if not is_owned:
            raise ProbeFailed(f"a read with {owner.name} was refused, or not answered")
    is_kept = await _is_answered(own, others[0], query)
    return _got(others[0], owner, "a read, afterwards,") if is_kept else None


def _got(reader: ProbeReader, owner: ProbeReader, what: str) -> str:
    return f"a reader with {reader.name} got {what} of a reader with {owner.name}"


async def _read(own: OwnStream, reader: ProbeReader, query: Mapping[str, str]) -> ProbeReply:
    return await reader.read(own, query, ProbeBounds(within_s=2 * UNDER_WAY_S + 2 * PROMPT_S))


async def _is_answered(own: OwnStream, reader: ProbeReader, query: Mapping[str, str]) -> bool:
    """Return whether a read is neither refused nor lost."""
    try:
        return (await _read(own, reader, query)).is_good
    except FAILURES:
        return False


async def _has_event(own: OwnStream, reader: ProbeReader, query: Mapping[str, str]) -> bool:
    """Return whether an event with data comes; a refused reader gets none."""
    headers = {"Accept": EVENT_STREAM, **reader.headers}
    try:
        async with own.asker.opened(reader.stream, query=query, headers=headers) as answer:
            await EventWatch(answer).data_event()
    except FAILURES:
        return False
    return True
