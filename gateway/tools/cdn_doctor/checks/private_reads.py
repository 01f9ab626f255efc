"""Checks whether reads under way with a credential are answered to readers without it.

A cache that stores nothing private can still give one response to all who ask for its URL while it
is under way. So equal polls, reads and SSE are sent while those of the one who may read wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from gateway.protocol.http.forwarding import READER_COOKIE
from gateway.tools.cdn_doctor.checks.events import EVENT_STREAM, EventWatch
from gateway.tools.cdn_doctor.checks.readers import ProbeReader, strangers
from gateway.tools.cdn_doctor.finding import Finding, failed, noted, passed
from gateway.tools.cdn_doctor.first_reads import DATA
from gateway.tools.cdn_doctor.probe_sender import ProbeBounds
from gateway.tools.cdn_doctor.streams import TEXT
from gateway.tools.shell.failure import FAILURES, Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.tools.cdn_doctor.deployment import Deployment
    from gateway.tools.cdn_doctor.finding import Check
    from gateway.tools.cdn_doctor.probe_sender import ProbeReply
    from gateway.tools.cdn_doctor.streams import OwnStream

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
    own = await deployment.streams.create("-private", TEXT)
    await own.append(DATA)
    others = strangers(own)
    for stranger in others:
        if (await _read(own, stranger, {"cursor": "0", "offset": own.start})).is_good:
            return noted(CHECK, f"not private: a reader with {stranger.name} may read")
    for owner in await _owners(own, deployment.options.reader):
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
            raise Failed(f"a poll with {owner.name} did not end by an append")
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
            raise Failed(f"a read with {owner.name} was refused, or not answered")
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
    except (*FAILURES, aiohttp.ClientError):
        return False
    return True
