"""Where a request carries its token: in Authorization, in its query, or in a cookie."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict

from gateway.errors import BadRequest
from gateway.protocol.identity import drop_cookie

if TYPE_CHECKING:
    from multidict import MultiMapping

PARAMETER = "token"  # of the query, for EventSource, which can set no header
COOKIE = "__Secure-headgate"  # browsers take the name only with Secure
READING = frozenset({"GET", "HEAD"})
LONGEST_TOKEN = 8 * 1024  # a header line is no longer, so neither is a token elsewhere
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_COOKIE = re.compile(rf"(?:^|;)\s*{re.escape(COOKIE)}=\"?([A-Za-z0-9._~+/=-]+)\"?\s*(?=;|$)")


class Presented(NamedTuple):
    """The token of a request, if it has one, and its target without any."""

    token: str | None
    target: str


def without_token(target: str) -> str:
    """A target without the tokens that may be in its query."""
    path, mark, query = target.partition("?")
    if not mark or PARAMETER not in query:
        return target
    begins = f"{PARAMETER}="
    rest = "&".join(part for part in query.split("&") if not part.startswith(begins))
    return f"{path}?{rest}" if rest else path


def without_credential(headers: MultiMapping[str]) -> CIMultiDict[str]:
    """The header fields but for a bearer token and our cookie, which a guard has judged."""
    rest = CIMultiDict(headers)
    if _BEARER.fullmatch(rest.get("Authorization", "")) is not None:
        del rest["Authorization"]
    drop_cookie(rest, COOKIE)
    return rest


def present(method: str, target: str, headers: MultiMapping[str]) -> Presented:
    """The credential of a request. Raises BadRequest where two tokens could count.

    Authorization goes first, then the query, then the cookie. What a browser sends by itself, or
    a link can hold, lets only read: else any page could have it write.
    """
    query = target.partition("?")[2]
    asked: list[str] = []
    if PARAMETER in query:
        begins = f"{PARAMETER}="
        parts = query.split("&")
        asked = [part.removeprefix(begins) for part in parts if part.startswith(begins)]
        target = without_token(target)
    if len(asked) > 1:
        raise BadRequest(f"the query parameter {PARAMETER!r} is given more than once")
    given = headers.getall("Authorization", ())
    if len(given) > 1:
        raise BadRequest("Authorization is given more than once")
    bearer = _BEARER.fullmatch(given[0]) if given else None
    if bearer is not None:
        return Presented(bearer[1], target)
    if given or method not in READING:  # another scheme: it is not for us, and nobody else's
        return Presented(None, target)
    if asked:
        return Presented(asked[0], target)
    # Of several, browsers send the one with the longest path first (RFC 6265 section 5.4).
    cookies = (value for line in headers.getall("Cookie", ()) for value in _COOKIE.findall(line))
    return Presented(next(cookies, None), target)
