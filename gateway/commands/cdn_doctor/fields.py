"""Whether answers arrive with the fields that readers need, and whether pages may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.commands.cdn_doctor.evidence import Source, source, told
from gateway.commands.cdn_doctor.finding import Finding, failed, noted, passed, unknown
from gateway.commands.cdn_doctor.first_reads import CURSOR as EQUAL_CURSOR
from gateway.protocol.header_names import CLOSED, CURSOR, NEXT_OFFSET, UP_TO_DATE

if TYPE_CHECKING:
    from gateway.commands.cdn_doctor.asker import Reply
    from gateway.commands.cdn_doctor.deployment import Deployment

ALLOW_ORIGIN, EXPOSE = "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"
# Names that nobody has (RFC 6761).
SITES = ("https://one.doctor.invalid", "https://other.doctor.invalid")


async def headers(deployment: Deployment) -> Finding:
    """Check that no hop takes away a field by which a reader goes on."""
    own = await deployment.streams.create("-headers")
    await own.append(b"headers")
    read, live = {"offset": own.start}, {"live": "long-poll", "offset": own.start}
    closed = deployment.reads
    # Nobody has asked for this URL: what is not made for it is the answer to another one.
    crossed = await closed.own.read(
        {"cursor": EQUAL_CURSOR, "live": "long-poll", "offset": closed.own.start}
    )
    if crossed.is_good and source(crossed) is Source.SHARED:
        saw = f"a long-poll was given the answer to a read that is not live{told(crossed)}"
        return failed("headers", saw, "live in key")
    expected = [
        ("a read", await own.read(read), (NEXT_OFFSET, UP_TO_DATE, "ETag")),
        ("the same read", await own.read(read), (NEXT_OFFSET, UP_TO_DATE, "ETag")),
        ("a long-poll", await own.read(live), (NEXT_OFFSET, UP_TO_DATE, CURSOR)),
        ("a read of a closed stream", closed.again, (NEXT_OFFSET, CLOSED, "ETag")),
    ]
    missing: dict[str, str] = {}
    for name, reply, fields in expected:
        if not reply.is_good:
            return unknown("headers", f"{name} was answered with: {reply.said}")
        for field in fields:
            if field not in reply.headers:
                missing.setdefault(field, name)
        if reply.headers.get("Content-Type") != own.content_type:
            missing.setdefault(f"Content-Type {own.content_type}", name)
    if missing:
        saw = ", ".join(f"{name} has no {field}" for field, name in missing.items())
        return failed("headers", saw)
    return passed("headers", "reads and long-polls have every field that readers go on by")


async def cors(deployment: Deployment) -> Finding:
    """Check that pages of other web sites may read, if the server lets them."""
    own = deployment.reads.own
    query = {"offset": own.start}
    replies = [await own.read(query, {"Origin": site}) for site in (SITES[0], *SITES)]
    if refused := next((reply for reply in replies if not reply.is_good), None):
        return unknown("CORS", f"a read was answered with: {refused.said}")
    if wrong := _wrong(replies):
        return failed("CORS", f"{wrong}{told(replies[-1])}")
    if any(ALLOW_ORIGIN not in reply.headers for reply in replies):
        return noted("CORS", f"no {ALLOW_ORIGIN}: the server lets only some pages read, or none")
    asked = {
        "Origin": SITES[0],
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "if-none-match",
    }
    preflight = await deployment.asker.ask(own.stream, "OPTIONS", headers=asked)
    if not preflight.is_good:
        return failed("CORS", f"a preflight was answered {preflight.status}")
    if ALLOW_ORIGIN not in preflight.headers:
        return failed("CORS", f"the answer to a preflight has no {ALLOW_ORIGIN}, and reads have it")
    return passed("CORS", "pages of other sites may read, and are told so before they ask")


def _wrong(replies: list[Reply]) -> str | None:
    """Return what no server says by itself: a field without the one that it belongs to."""
    has = [ALLOW_ORIGIN in reply.headers for reply in replies]
    if any(has) and not all(has):
        return f"some answers to a page have an {ALLOW_ORIGIN}, and equal ones have none"
    if not all(has) and any(EXPOSE in reply.headers for reply in replies):
        return f"answers have no {ALLOW_ORIGIN}, but the {EXPOSE} that goes with it"
    if replies[-1].headers.get(ALLOW_ORIGIN) == SITES[0]:
        return f"a page of {SITES[1]} was told that those of {SITES[0]} may read"
    return None
