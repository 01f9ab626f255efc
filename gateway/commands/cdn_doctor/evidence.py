"""Whether an answer was made for its request, or is another request's from a cache on the way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.commands.cdn_doctor.asker import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.commands.cdn_doctor.asker import Reply

# Where caches say what they did, those of one vendor before the one that servers use, too.
CLAIMS = ("X-Cache-Status", "CF-Cache-Status", "X-Vercel-Cache", "CDN-Cache", "X-Cache")
_KEPT = re.compile(r"\b(?:\w*hit|stale|updating|revalidated|collapsed)\b", re.IGNORECASE)
_KEPT_BY_RFC_9211 = re.compile(r";\s*(?:hit|collapsed)\b", re.IGNORECASE)
CLAIM_CHARACTERS = 60


class Source(Enum):
    """What an answer is."""

    OWN = "made for this request"
    SHARED = "made for another request"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Way:
    """What is known of the way to the server."""

    # The server gives the id of a request back, which no cache between can know.
    echoes: bool
    # Whether a cache before the server keeps answers; None is not known.
    keeps: bool | None = None

    def source(self, reply: Reply) -> Source:
        """By the request's id if the server gives it back, else by what caches say."""
        echoed = reply.headers.get(REQUEST_ID)
        if self.echoes and echoed is not None:
            return Source.OWN if echoed == reply.request_id else Source.SHARED
        if claims_kept(reply.headers):
            return Source.SHARED
        # An Age of 0 says nothing: who waited for another's answer gets it as new as he did.
        says_more = any(name in reply.headers for name in (*CLAIMS, "Cache-Status"))
        return Source.OWN if says_more else Source.UNKNOWN


def claims_kept(headers: Mapping[str, str]) -> bool:
    """Whether some cache says that it had the answer, or shared it; the server's own may, too."""
    age = headers.get("Age", "")
    return (
        any(_KEPT.search(headers.get(name, "")) for name in CLAIMS)
        or _KEPT_BY_RFC_9211.search(headers.get("Cache-Status", "")) is not None
        or (age.isdecimal() and age.strip("0") != "")
    )


def claim(headers: Mapping[str, str]) -> str | None:
    """What a cache says it did, as one short line; None if there is nothing to read."""
    for name in (*CLAIMS, "Cache-Status", "Age"):
        value = headers.get(name)
        if value:
            line = "".join(one if " " <= one <= "~" else " " for one in value)
            return f"{name}: {line[:CLAIM_CHARACTERS]}"
    return None


def told(*replies: Reply) -> str:
    """What caches said of these answers, in brackets; nothing if they said nothing."""
    claims = [line for reply in replies if (line := claim(reply.headers)) is not None]
    return f" ({', then '.join(claims)})" if claims else ""
