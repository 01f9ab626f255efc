"""Checks whether replies have the fields that readers and pages need, and that the file sets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headgate.names import CLOSED, CURSOR, NEXT_OFFSET, UP_TO_DATE
from headgate_doctor.deployment import CURSOR as EQUAL_CURSOR
from headgate_doctor.evidence import (
    AnswerSource,
    cache_claims,
    is_headgate,
    source,
)
from headgate_doctor.finding import Finding, failed, noted, passed, unknown
from headgate_doctor.server_names import DIGEST_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_doctor.deployment import Deployment
    from headgate_doctor.finding import Check
    from headgate_doctor.probe_sender import ProbeReply

ALLOW_ORIGIN, EXPOSE = "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"
ALLOW_HEADERS = "Access-Control-Allow-Headers"
ASKED_FOR = "if-none-match"
PAGES_SEE = (NEXT_OFFSET, UP_TO_DATE, CURSOR, CLOSED, "ETag")
FOR_PAGES = "6"  # a cursor that no other check has in its reads
# How hops answer in place of a response with a head that is too long for them.
HEAD_IS_REFUSED = {500, 502}
# Characters: NGX_HTTP_CACHE_VARY_LEN of nginx.
MOST_OF_VARY = 128
# Fields of requests that differ between nearly all readers.
OF_EACH = {"user-agent", "cookie", "referer"}
# Names that nobody has (RFC 6761).
SITES = ("https://one.doctor.invalid", "https://other.doctor.invalid")


async def live_is_in_key(deployment: Deployment) -> str | None:
    """Return a sentence if a long-poll gets the response to a read that is not live, else None."""
    closed = deployment.reads
    crossed = await closed.own.read(
        {"cursor": EQUAL_CURSOR, "live": "long-poll", "offset": closed.own.start}
    )
    if crossed.is_good and source(crossed) is AnswerSource.SHARED:
        return f"a long-poll got the response to a read that is not live{cache_claims(crossed)}"
    return None


def vary(reply: ProbeReply) -> Finding | None:
    """Return the finding if the Vary of a reply keeps caches from sharing it, else None."""
    said = reply.headers.get("Vary", "")
    names = {name.strip().lower() for name in said.split(",")}
    if "*" in names:
        return failed("headers", "reads have Vary: *, with which no cache stores them", "Vary *")
    if len(said) > MOST_OF_VARY:
        saw = f"Vary has {len(said)} characters: nginx stores no response with more than"
        return noted("headers", f"{saw} {MOST_OF_VARY}")
    # What is private is for one reader in any case.
    is_private = "private" in reply.headers.get("Cache-Control", "").lower()
    if not is_private and (apart := names & OF_EACH):
        saw = f"Vary names {', '.join(sorted(apart))}: caches have a copy for nearly each reader"
        return noted("headers", saw)
    return None


def _refused(check: Check, name: str, reply: ProbeReply) -> Finding:
    """Return the finding of a read that is refused, although the stream was made and written."""
    saw = f"{name} was answered with: {reply.error_text}"
    # A read has a longer head than the response to what wrote the stream.
    if reply.status in HEAD_IS_REFUSED:
        return failed(check, saw, "long heads")
    return unknown(check, saw)


async def cors(deployment: Deployment) -> Finding:
    """Check that pages of other web sites may read, if the server lets them."""
    own = deployment.reads.own
    if deployment.options.origins:
        return await _allowed(deployment, deployment.options.origins)
    query = {"offset": own.start}
    replies = [await own.read(query, {"Origin": site}) for site in (SITES[0], *SITES)]
    if refused := next((reply for reply in replies if not reply.is_good), None):
        return _refused("CORS", "a read for a page", refused)
    return _of_any_site(replies) or await _preflight(deployment, replies[0], SITES[0])


def _of_any_site(replies: list[ProbeReply]) -> Finding | None:
    """Return what is found of reads for pages of any site; None if they may read."""
    if wrong := _repeated(replies[0]):
        return failed("CORS", wrong, "CORS twice")
    if wrong := _wrong(replies):
        return failed("CORS", f"{wrong}{cache_claims(replies[-1])}")
    if any(ALLOW_ORIGIN not in reply.headers for reply in replies):
        return noted("CORS", f"no {ALLOW_ORIGIN}: the server lets only some pages read, or none")
    return None


async def _allowed(deployment: Deployment, origins: Sequence[str]) -> Finding:
    """Check that pages of `origins` may read, also where a copy was made for another page."""
    own = deployment.reads.own
    query = {"cursor": FOR_PAGES, "offset": own.start}
    sites = (SITES[0], *origins, *origins)
    replies = [await own.read(query, {"Origin": site}) for site in sites]
    for site, reply in zip(sites, replies, strict=True):
        if not reply.is_good:
            return _refused("CORS", f"a read for a page of {site}", reply)
        if wrong := _repeated(reply):
            return failed("CORS", wrong, "CORS twice")
        allowed = reply.headers.get(ALLOW_ORIGIN)
        if site in origins and allowed not in {site, "*"}:
            saw = f"a page of {site} got {'no' if allowed is None else 'another'} {ALLOW_ORIGIN}"
            is_kept = source(reply) is AnswerSource.SHARED or allowed in origins
            return failed("CORS", f"{saw}{cache_claims(reply)}", "Vary" if is_kept else None)
    return await _preflight(deployment, replies[-1], origins[-1])


async def _preflight(deployment: Deployment, read: ProbeReply, site: str) -> Finding:
    """Check what a preflight of a site permits, and which fields its page sees in a read."""
    asked = {
        "Origin": site,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": ASKED_FOR,
    }
    reply = await deployment.asker.send(deployment.reads.own.stream, "OPTIONS", headers=asked)
    if not reply.is_good:
        return failed("CORS", f"a preflight was answered {reply.status}")
    if ALLOW_ORIGIN not in reply.headers:
        return failed("CORS", f"the answer to a preflight has no {ALLOW_ORIGIN}, and reads have it")
    # Other servers do not name it themselves.
    if is_headgate(read.headers) and not _names(reply, ALLOW_HEADERS, ASKED_FOR):
        saw = f"a preflight forbids pages to send {ASKED_FOR}, with which readers revalidate"
        return failed("CORS", saw, "preflight")
    # Other servers may name fewer.
    needed = PAGES_SEE if is_headgate(read.headers) else PAGES_SEE[:1]
    if hidden := [name for name in needed if not _names(read, EXPOSE, name)]:
        saw = f"no {EXPOSE} lets pages see {', '.join(hidden)}, which they need to read on"
        return failed("CORS", saw)
    return passed("CORS", "pages of other sites may read, and a preflight says so")


def _repeated(reply: ProbeReply) -> str | None:
    """Return what browsers refuse: more than one value, such as the server's and a hop's."""
    times = len(reply.headers.get(ALLOW_ORIGIN, "").split(","))
    return f"a read has {times} {ALLOW_ORIGIN}, of which browsers want one" if times > 1 else None


def _names(reply: ProbeReply, field: str, value: str) -> bool:
    """Return whether a list of names has this one, or stands for all."""
    names = {name.strip().lower() for name in reply.headers.get(field, "").split(",")}
    return not names.isdisjoint({value.lower(), "*"})


def _wrong(replies: list[ProbeReply]) -> str | None:
    """Return what no server says by itself: a field without the one that it belongs to."""
    has = [ALLOW_ORIGIN in reply.headers for reply in replies]
    if any(has) and not all(has):
        return f"some answers to a page have an {ALLOW_ORIGIN}, and equal ones have none"
    if not all(has) and any(EXPOSE in reply.headers for reply in replies):
        return f"answers have no {ALLOW_ORIGIN}, but the {EXPOSE} that goes with it"
    if replies[-1].headers.get(ALLOW_ORIGIN) == SITES[0]:
        return f"a page of {SITES[1]} got the {ALLOW_ORIGIN} of {SITES[0]}"
    return None


_DIGEST = re.compile(r"[a-z-]{1,64}/[0-9a-f]{16}")
DRIFTED = "drifted: rendered with other options or by another version, render anew"


async def configuration(deployment: Deployment) -> list[Finding]:
    """Compare the digest in the answers with that of the file; skip it where none was given."""
    expected = deployment.options.rendered
    if expected is None:
        return []
    replies = (deployment.reads.first, deployment.reads.again)
    # Of several such files on the way, the one for the same target counts.
    said = {one for reply in replies for one in _DIGEST.findall(_said(reply.headers))}
    target = expected.partition("/")[0]
    seen = sorted(one for one in said if one.startswith(f"{target}/")) or sorted(said)
    if not seen:
        return [
            failed(
                "configuration",
                f"no answer has {DIGEST_HEADER}: the file is not deployed, or is older than this "
                "header, or a hop takes it away",
            )
        ]
    if seen != [expected]:
        return [failed("configuration", f"{DRIFTED} (deployed {', '.join(seen)}, now {expected})")]
    return [passed("configuration", f"what is deployed is what the settings ask for: {expected}")]


def _said(headers: Mapping[str, str]) -> str:
    return headers.get(DIGEST_HEADER, "")
