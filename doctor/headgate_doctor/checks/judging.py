"""Compare the responses of the conversation with its lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headgate.names import NEXT_OFFSET, UP_TO_DATE
from headgate_doctor.checks import fields
from headgate_doctor.checks.writes import (
    LONGEST_TAIL_S,
    REFUSED,
    browsers_lifetime_s,
)
from headgate_doctor.evidence import cache_claims, is_copy
from headgate_doctor.output import counted
from headgate_doctor.script.line import (
    ABSENT,
    ALLOW_ORIGIN,
    ANY,
    ETAG,
    HERE,
    IF_ANY,
    OTHERS,
    SHORT,
    TYPE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_doctor.finding import Advice, Check
    from headgate_doctor.probe_sender import ProbeReply
    from headgate_doctor.script.line import ScriptLine

GZIP = b"\x1f\x8b"  # begins what is compressed
_TAG = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A response that is not as it should be."""

    check: Check
    saw: str
    advice: Advice | None = None
    # The field of the response that is missing or has another value, and its value.
    field: str = ""
    seen: str = ""
    # The same field if it is missing.
    missing: str = ""
    # The field of the request that did not arrive.
    lost_field: str = ""


def mismatches(
    kept: Mapping[str, str], line: ScriptLine, reply: ProbeReply, *, is_spoiled: bool
) -> Iterator[Mismatch]:
    """Yield what is wrong with the response to a line.

    Offsets are not compared if the stream `is_spoiled`: an append was lost, or stored twice.
    """
    means = f": {line.means}" if line.means else ""
    if line.method in {"PUT", "POST", "DELETE"} and is_copy(reply):
        saw = f"{line.name} got the response to another request{cache_claims(reply)}"
        yield Mismatch("statuses", saw, "POST kept")
    elif is_of_hop(line, reply):
        saw = f"{line.name} was acknowledged with {reply.status} and without a {NEXT_OFFSET}"
        yield Mismatch("statuses", f"{saw}: a hop answers it itself", "answered early")
    elif reply.status not in line.status:
        # A refusal of HEAD, and a copy of what was deleted, have checks of their own.
        is_other_check = line.method == "HEAD" and reply.status in REFUSED
        if not is_other_check and not (line.check == "refusals" and is_copy(reply)):
            yield _wrong_status(line, reply, means)
    else:
        if has_wrong_body(line, reply):
            yield _wrong_body(line, reply, means)
        yield from _wrong_fields(kept, line, reply, is_spoiled=is_spoiled)


def is_of_hop(line: ScriptLine, reply: ProbeReply) -> bool:
    """Return whether a hop has acknowledged an append that should have its offset."""
    is_needed = not line.has.get(NEXT_OFFSET, IF_ANY).startswith(IF_ANY)
    has_none = is_needed and NEXT_OFFSET not in reply.headers
    return line.method == "POST" and reply.is_good and has_none


def _wrong_status(line: ScriptLine, reply: ProbeReply, means: str) -> Mismatch:
    saw = f"{line.name} was answered {reply.status}, where {_either(line.status)} was expected"
    if line.tested_field and reply.is_good:
        saw = f"{saw}: the {line.tested_field} of the request does not arrive"
        return Mismatch("request fields", saw, lost_field=line.tested_field)
    if reply.status in fields.HEAD_IS_REFUSED and line.method == "GET":
        return Mismatch("headers", f"{line.name} was answered {reply.status}", "long heads")
    if line.status == (304,) and reply.status == 200 and reply.body == b"":
        return Mismatch(line.check, f"{saw}: with no body, it is a 304 with another status", "304")
    if line.is_live and is_copy(reply):
        saw = f"{line.name} got the response to a read that is not live{cache_claims(reply)}"
        return Mismatch("queries", saw, "live in key")
    if line.is_needed and line.check == "bodies":
        return Mismatch(
            "statuses",
            f"{saw}{cache_claims(reply)}",
            "redirects" if 300 <= reply.status < 400 else "reads",
        )
    return Mismatch(line.check, f"{saw}{means}{cache_claims(reply)}", line.advice)


def _wrong_body(line: ScriptLine, reply: ProbeReply, means: str) -> Mismatch:
    saw = f"{line.name} has {counted(len(reply.body), 'byte')}, not those that were sent"
    if isinstance(line.gives, bytes) and line.gives and reply.body == 2 * line.gives:
        return Mismatch("bodies", f"{line.name} has what was appended once twice", "sent once")
    if line.gives == b"" and line.query.startswith("offset="):
        saw = f"{line.name} got the stream from elsewhere: its offset does not arrive"
        return Mismatch("queries", f"{saw}{cache_claims(reply)}")
    if reply.body.startswith(GZIP):
        return Mismatch("bodies", f"{saw}: they are compressed", "encoding")
    return Mismatch(line.check, f"{saw}{means}{cache_claims(reply)}", line.advice)


def _wrong_fields(
    kept: Mapping[str, str], line: ScriptLine, reply: ProbeReply, *, is_spoiled: bool
) -> Iterator[Mismatch]:
    for name, template in line.has.items():
        try:
            wanted = template.format_map(kept)
        except KeyError:
            continue
        if is_spoiled and name == NEXT_OFFSET:
            wanted = ANY
        of_fields: Check = "refusals" if reply.status >= 400 else "headers"
        seen = reply.headers.get(name)
        if wanted.startswith(HERE):
            if seen is not None and not _leads_to(wanted[1:], seen):
                yield _elsewhere(line, name, seen)
            continue
        for one in _wrong_field(line, of_fields, name, wanted, seen):
            yield replace(one, advice=_advice(kept, line, reply, one))


def _advice(
    kept: Mapping[str, str], line: ScriptLine, reply: ProbeReply, one: Mismatch
) -> Advice | None:
    """Return the advice for a wrong field, None for the usual advice of its check."""
    if one.advice is not None:
        return one.advice
    if line.method == "HEAD" and UP_TO_DATE in reply.headers:  # which a read has
        return "HEAD of chunks"
    return "old" if one.seen in kept.values() else None


def _wrong_field(
    line: ScriptLine, of_fields: Check, name: str, wanted: str, seen: str | None
) -> Iterator[Mismatch]:
    """Yield what is wrong with a field of a response."""
    advice: Advice | None = "CORS" if name == ALLOW_ORIGIN else None
    if wanted == SHORT:
        lifetime_s = browsers_lifetime_s(seen or "")
        if lifetime_s > LONGEST_TAIL_S:
            saw = f"{line.name} may be kept by browsers for {lifetime_s} s"
            yield Mismatch(of_fields, saw, "browsers' copies")
    elif wanted == ABSENT:
        if seen is not None:
            saw = f"{line.name} has the {name} {_short(seen)}: {line.means}"
            yield Mismatch(line.check, saw, line.advice)
    elif seen is None:
        if not wanted.startswith(IF_ANY):
            saw = f"{line.name} has no {name}"
            yield Mismatch(of_fields, saw, advice, missing=name, field=name)
    else:
        yield from _wrong_value(line, of_fields, name, wanted, seen, advice)


def _wrong_value(
    line: ScriptLine, of_fields: Check, name: str, wanted: str, seen: str, advice: Advice | None
) -> Iterator[Mismatch]:
    """Yield what is wrong with the value of a field."""
    once, comma, again = seen.partition(", ")
    if comma and once == again:
        twice: Advice = "CORS twice" if name == ALLOW_ORIGIN else "fields twice"
        yield Mismatch(of_fields, f"{line.name} has the {name} twice", twice)
    elif wanted.startswith((OTHERS, IF_ANY)):
        is_old = wanted.startswith(OTHERS)
        if (seen == wanted[1:]) is is_old:
            which = "the old" if is_old else "another"
            yield Mismatch(line.check, f"{line.name} has {which} {name}: {line.means}")
    elif name == ETAG:
        if _TAG.fullmatch(seen) is None:
            saw = f"{line.name} has the {name} {_short(seen)}, which lacks a quote"
            yield Mismatch("tags", saw, "cut fields")
    elif wanted != ANY and not _is_same(name, seen, wanted):
        saw = f"{line.name} has the {name} {_short(seen)}, where {_short(wanted)} was expected"
        yield Mismatch(of_fields, saw, _cause(seen, wanted) or advice, field=name, seen=seen)


def _elsewhere(line: ScriptLine, name: str, seen: str) -> Mismatch:
    """Return what is wrong with a URL of another host."""
    saw = f"{line.name} has the {name} {_short(seen)}: the Host of the request does not arrive"
    return Mismatch("headers", saw, "Host")


def _leads_to(host: str, location: str) -> bool:
    """Return whether a URL without a host, or with this one, whatever its scheme."""
    found = urlsplit(location).netloc
    return not found or _without_default_port(found) == _without_default_port(host)


def _without_default_port(host: str) -> str:
    return re.sub(r":(?:80|443)?$", "", host.lower())


def _is_same(name: str, seen: str, wanted: str) -> bool:
    if name == TYPE:  # which hops may write in another case, with spaces
        return seen.lower().replace(" ", "") == wanted
    return seen == wanted


def _cause(seen: str, wanted: str) -> Advice | None:
    return "cut fields" if wanted.startswith(seen) else None


def _short(value: str) -> str:
    return "".join(one if " " <= one <= "~" else " " for one in value[:60])


def _either(statuses: tuple[int, ...]) -> str:
    return " or ".join(map(str, statuses))


def has_wrong_body(line: ScriptLine, reply: ProbeReply) -> bool:
    """Return whether a response has another body than the line gives."""
    if line.gives is None or reply.status not in {200, 201}:
        return False
    if isinstance(line.gives, bytes):
        return reply.body != line.gives
    return any(part not in reply.body for part in line.gives)
