"""Checks whether a reader sees what was written: a tail that moves, a stream that begins."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from headgate.names import NEXT_OFFSET, UP_TO_DATE
from headgate_doctor.evidence import cache_claims, is_headgate
from headgate_doctor.finding import Finding, failed, passed, unknown
from headgate_doctor.script.line import LOOK_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_doctor.deployment import Deployment
    from headgate_doctor.finding import Check
    from headgate_doctor.streams import OwnStream

EMPTY = {b"", b"[]"}
OF_TAILS: tuple[Check, ...] = ("empty tail", "browsers' copies", "deleted tail")
LONGEST_TAIL_S = 60  # as in the protocol's text for a read; a Headgate has browsers ask each time
REFUSED = {403, 404, 405, 501}
_LIFETIME = re.compile(r"\bmax-age=(\d{1,9})\b", re.IGNORECASE)
_ASKS_AGAIN = re.compile(r"\bno-(?:cache|store)\b", re.IGNORECASE)


async def head(deployment: Deployment) -> Finding:
    """Check whether HEAD has the new tail right after an append."""
    own = await deployment.streams.create("-head")
    before = await deployment.asker.send(own.stream, "HEAD")
    tail = await own.append(b"1")
    after = await deployment.asker.send(own.stream, "HEAD")
    if not (before.is_good and after.is_good):
        worse = after if before.is_good else before
        saw = f"it was answered {worse.status}"
        is_refused = worse.status in REFUSED and (await own.read({"offset": own.start})).is_good
        return failed("HEAD", saw, "HEAD refused") if is_refused else unknown("HEAD", saw)
    seen = after.headers.get(NEXT_OFFSET)
    if seen == tail:
        return passed("HEAD", "right after an append it has the new tail")
    if seen is None:
        return failed("HEAD", f"its answer has no {NEXT_OFFSET}")
    if seen > tail:  # offsets of the protocol are in the order of their text
        return unknown("HEAD", "it has a later tail than that of the only append")
    return failed("HEAD", f"after an append it has the old tail{cache_claims(after)}")


async def empty_tail(deployment: Deployment) -> list[Finding]:
    """Check that readers and browsers see an append at the tail, and a deletion.

    One of two streams has a name like that of a file, `.js`, which some hops cache by its ending.
    """
    own, file = [await deployment.streams.create(suffix) for suffix in ("-tail", "-tail.js")]
    query = {"offset": own.start}
    nothing = [await one.read({"offset": one.start}) for one in (own, file)]
    if any(not reply.is_good or reply.body not in EMPTY for reply in nothing):
        saw = "a read of an empty stream did not come back empty"
        return [unknown(name, saw) for name in OF_TAILS]
    for one in (own, file):
        await one.append(b"1")
    await asyncio.sleep(LOOK_S)
    reply, of_file = await own.read(query), await file.read({"offset": file.start})
    copies = [_copies_of_browsers(one.headers) for one in nothing]
    of_browsers = next((one for one in copies if one.is_failure), copies[0])
    seen = passed("empty tail", f"an append is seen after {LOOK_S:g} s")
    if reply.body in EMPTY:
        saw = f"{LOOK_S:g} s after an append a read is still empty{cache_claims(reply)}"
        seen = failed("empty tail", saw)
    elif of_file.body in EMPTY:
        saw = f"{LOOK_S:g} s after an append a read of a stream named .js is still empty"
        seen = failed("empty tail", f"{saw}{cache_claims(of_file)}", "files")
    elif copies[1].is_failure and not copies[0].is_failure:
        of_browsers = failed(of_browsers.check, f"for a stream named .js {copies[1].saw}", "files")
    return [seen, of_browsers, await _deleted(own)]


async def _deleted(own: OwnStream) -> Finding:
    """Check that a deleted stream is not read any more from a copy of its tail."""
    check: Check = "deleted tail"
    reply = await own.asker.send(own.stream, "DELETE")
    if not reply.is_good:
        return unknown(check, f"a deletion was answered {reply.status}")
    await asyncio.sleep(LOOK_S)
    reply = await own.read({"offset": own.start})
    if reply.is_good:
        saw = f"{LOOK_S:g} s after a stream was deleted it is still read{cache_claims(reply)}"
        return failed(check, saw)
    return passed(check, f"{LOOK_S:g} s after a stream was deleted it is not read any more")


def _copies_of_browsers(headers: Mapping[str, str]) -> Finding:
    """Say whether a browser would keep an answer at the tail for longer than any server says."""
    check: Check = "browsers' copies"
    if UP_TO_DATE not in headers:
        return unknown(check, f"a read at the tail has no {UP_TO_DATE}")
    said = headers.get("Cache-Control", "")
    is_ours = is_headgate(headers)
    if not said and is_ours:
        return failed(check, "a read at the tail has no Cache-Control: a hop removes it")
    lifetime_s = browsers_lifetime_s(said)
    if lifetime_s > (0 if is_ours else LONGEST_TAIL_S):
        saw = f"browsers may keep an answer at the tail for {lifetime_s} s, and see no append"
        return failed(check, saw)
    return passed(check, "browsers keep no answer at the tail for long")


def browsers_lifetime_s(said: str) -> int:
    """Return for how many seconds browsers use a copy with this Cache-Control unvalidated."""
    lifetimes = [int(lifetime) for lifetime in _LIFETIME.findall(said)]
    return 0 if _ASKS_AGAIN.search(said) else max(lifetimes, default=0)


async def early_404(deployment: Deployment) -> Finding:
    """Check that a read before a stream's creation does not hide the stream afterwards."""
    early = deployment.streams.planned("-early")
    query = {"offset": "-1"}
    before = await deployment.asker.send(early, "GET", query=query)
    if before.is_good:
        kind = before.headers.get("Content-Type", "no type")[:40]
        saw = f"a stream that is not there was answered {before.status} ({kind})"
        return failed("early 404", saw, "error pages")
    if before.status == 410:
        saw = "a stream that was never made was answered 410, which says that it is gone for good"
        return failed("early 404", f"{saw}: a hop makes it of a 404", "refusals")
    if before.status != 404:
        return unknown("early 404", f"a stream that is not there was answered {before.status}")
    own = await deployment.streams.create("-early")
    await asyncio.sleep(LOOK_S)
    reply = await own.read(query)
    if reply.is_good:
        return passed("early 404", "a stream that was read before it was made is there then")
    if reply.status == before.status:
        saw = f"{LOOK_S:g} s after a stream was made a read of it is still answered"
        return failed("early 404", f"{saw} {reply.status}{cache_claims(reply)}")
    return unknown("early 404", f"a read was answered with: {reply.error_text}")
