"""Evidence whether a reply was made for its request, or came from a cache on the way."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from headgate_doctor.probe_sender import ID_MARK, REQUEST_ID
from headgate_doctor.server_names import HEADGATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_doctor.probe_sender import ProbeReply

# Fields in which only the caches of one vendor say what they did.
OF_VENDORS = ("X-Cache-Status", "CF-Cache-Status", "X-Vercel-Cache", "CDN-Cache")
_KEPT = re.compile(r"\b(?:\w*hit|stale|updating|revalidated|collapsed)\b", re.IGNORECASE)
_KEPT_BY_RFC_9211 = re.compile(r";\s*(?:hit|collapsed)\b", re.IGNORECASE)
_MISSED = re.compile(r"\b(?:\w*miss|expired)\b", re.IGNORECASE)
_MISSED_BY_RFC_9211 = re.compile(r";\s*fwd=(?:uri-miss|vary-miss|miss|stale)\b", re.IGNORECASE)
# The Server-Timing of rendered files, which send copies without the id of their first reader.
_OF_RENDERED_FILES = re.compile(r"cache;desc=(?:hit|miss|pass)")
CLAIM_CHARACTERS = 60


class AnswerSource(Enum):
    """The source of a reply."""

    OWN = "made for this request"
    SHARED = "made for another request"
    UNKNOWN = "not known"


def source(reply: ProbeReply) -> AnswerSource:
    """Return a reply's source by the request id that it echoes, else by the fields of caches.

    No cache on the way can know the id of a later request. A cache may drop the field.
    """
    echoed = reply.headers.get(REQUEST_ID, "")
    if echoed.startswith(ID_MARK):
        return AnswerSource.OWN if echoed == reply.request_id else AnswerSource.SHARED
    said, is_rfc_9211 = _last_claim(reply.headers)
    if said is not None:
        kept = (_KEPT_BY_RFC_9211 if is_rfc_9211 else _KEPT).search(said)
        return AnswerSource.OWN if kept is None else AnswerSource.SHARED
    # An Age of 0 says nothing: a request that was collapsed with another gets its fresh response.
    return AnswerSource.SHARED if _is_old(reply.headers) else AnswerSource.UNKNOWN


def is_copy(reply: ProbeReply) -> bool:
    """Return whether a reply shows that a cache in front of the server made it from a copy.

    Unlike `source` this goes by no Age, which may be that of the server's own cache.
    """
    echoed = reply.headers.get(REQUEST_ID, "")
    if echoed.startswith(ID_MARK):
        return echoed != reply.request_id
    said, is_rfc_9211 = _last_claim(reply.headers)
    pattern = _KEPT_BY_RFC_9211 if is_rfc_9211 else _KEPT
    return said is not None and pattern.search(said) is not None


def claims_missed(headers: Mapping[str, str]) -> bool:
    """Return whether the cache nearest to the server says that it had no copy."""
    said, is_rfc_9211 = _last_claim(headers)
    pattern = _MISSED_BY_RFC_9211 if is_rfc_9211 else _MISSED
    return said is not None and pattern.search(said) is not None


def is_headgate(headers: Mapping[str, str]) -> bool:
    """Return whether the server that made an answer says that it is a Headgate."""
    steps = headers.get("Cache-Status", "").lower().split(",")
    return HEADGATE in {step.partition(";")[0].strip() for step in steps}


def _last_claim(headers: Mapping[str, str]) -> tuple[str | None, bool]:
    """Return what the nearest cache before the server says, and whether it does by RFC 9211."""
    for name in OF_VENDORS:
        if name in headers:
            return headers[name], False
    if _OF_RENDERED_FILES.fullmatch(timing := headers.get("Server-Timing", "")):
        return timing, False
    steps = [step.strip() for step in headers.get("Cache-Status", "").split(",")]
    names = [step.partition(";")[0].strip().lower() for step in steps]
    if names[-1] not in {"", HEADGATE}:
        return steps[-1], True
    return (None if HEADGATE in names else headers.get("X-Cache")), False


def _is_old(headers: Mapping[str, str]) -> bool:
    age = headers.get("Age", "")
    return age.isdecimal() and age.strip("0") != ""


def claims_kept(headers: Mapping[str, str]) -> bool:
    """Return whether any cache, the server's own too, says that it had or shared the reply."""
    return (
        any(_KEPT.search(headers.get(name, "")) for name in (*OF_VENDORS, "X-Cache"))
        or _KEPT_BY_RFC_9211.search(headers.get("Cache-Status", "")) is not None
        or _is_old(headers)
    )


def cache_claims(*replies: ProbeReply) -> str:
    """Return what caches said of these replies, in brackets; "" if they said nothing."""
    claims = [line for reply in replies if (line := _claim(reply.headers)) is not None]
    return f" ({', then '.join(claims)})" if claims else ""


def _claim(headers: Mapping[str, str]) -> str | None:
    """Return the most telling field of a cache as one short line, or None."""
    for name in (*OF_VENDORS, "X-Cache", "Cache-Status", "Age"):
        value = headers.get(name)
        if value:
            line = "".join(one if " " <= one <= "~" else " " for one in value)
            return f"{name}: {line[:CLAIM_CHARACTERS]}"
    return None
