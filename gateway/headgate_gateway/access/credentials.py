"""The token of a request: in Authorization, in the query, or in a cookie."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, unquote_plus

from multidict import CIMultiDict

from headgate.names import NOT_IN_FIELDS
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.forwarding import READER_COOKIE, drop_cookies
from headgate_gateway.protocol.http.paths import taken_out
from headgate_gateway.telemetry.logs import SECRET_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import MultiMapping

PARAMETER = "token"  # of the query, for EventSource, which can set no header
READING = frozenset({"GET", "HEAD"})  # methods that accept a token outside Authorization
LONGEST_TOKEN = 8 * 1024  # a header line is no longer, so neither is a token elsewhere
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LIKE_TOKEN = re.compile(r"token=", re.IGNORECASE)
# A name in a query or of a header field such as access_token, X-Amz-Signature, key[] or rk.
_SECRET_NAME = re.compile(
    "token|secret|signature|passw|credential|jwt"
    f"|(?<![a-z0-9])(?:{'|'.join(sorted(SECRET_PARAMETERS))})(?![a-z0-9])",
    re.IGNORECASE,
)
# The beginning of a URL up to its host, which is no path: a name and a password before an @.
# Browsers take any number of slashes after a scheme.
_SCHEME = "[a-z][a-z0-9+.-]*:"
_USERINFO = re.compile(rf"({_SCHEME}[/\\]+|[/\\]{{2,}})?[^/\\?#]*@", re.IGNORECASE)
_USERINFO_WITHIN = re.compile(r"[/\\]{2}[^/\\?#]*@")  # of a URL that is not at the beginning
# A host with a port that is none: the beginning of a password with a slash or a question mark.
_NO_PORT = re.compile(rf"(?:{_SCHEME})?[/\\]{{2}}[^/\\\[]*:(?!\d*(?:[/\\]|$))", re.IGNORECASE)
_MARKS = re.compile("[?&;#]")  # after which a query, its next part or a fragment begins
# A link that went through more programs, each of which encoded it, or has more names is not shared.
_DECODINGS = 8
_COOKIE = re.compile(rf"(?:^|;)\s*{re.escape(READER_COOKIE)}=\"?([A-Za-z0-9._~+/=-]+)\"?\s*(?=;|$)")


class RequestCredential(NamedTuple):
    """The token of a request, if it has one, and its target without any."""

    token: str | None
    target: str


def without_token(target: str) -> str:
    """Return a target without the tokens in its query, however the parameter is spelt."""
    return _tokens_and_rest(target)[1]


def _tokens_and_rest(target: str) -> tuple[list[str], str]:
    if "?" not in target or (PARAMETER not in target and "%" not in target):
        return [], target
    return taken_out(target, _gives_token)


def _gives_token(part: str) -> bool:
    """Return whether a part of a query has the name of our parameter, in any spelling."""
    name, equals, _ = part.partition("=")
    return bool(equals) and (name == PARAMETER or ("%" in name and unquote(name) == PARAMETER))


def _query_token(parts: Sequence[str]) -> str | None:
    """Return the query's token, if it has one. Raises BadRequest for two, or an encoded name.

    An origin would decode a percent-encoded name, while a cache in front compares names as they
    are, and would take the token for a part of the URL.
    """
    begins = f"{PARAMETER}="
    if not all(part.startswith(begins) for part in parts):
        raise BadRequest(f"the query parameter {PARAMETER!r} is not to be percent-encoded")
    if len(parts) > 1:
        raise BadRequest(f"the query parameter {PARAMETER!r} is given more than once")
    if not parts:
        return None
    encoded = parts[0].removeprefix(begins)
    decoded = unquote(encoded)  # URLSearchParams encodes what base64 has besides letters and digits
    return decoded if _TOKEN.fullmatch(decoded) else encoded


def without_secrets(target: str) -> str:
    """Return a target for logs: without its token, and with *** for what was meant as a token.

    An example is `&amp;token=`, from a link that was escaped twice.
    """
    path, mark, query = without_token(target).partition("?")
    if "%" not in query and _LIKE_TOKEN.search(query) is None:
        return f"{path}{mark}{query}"
    parts = ["***" if _LIKE_TOKEN.search(unquote(part)) else part for part in query.split("&")]
    return f"{path}{mark}{'&'.join(parts)}"


def shareable(url: str) -> str:
    """Return a URL or target for addresses that people share: without userinfo, fragment, secrets.

    It is empty if what is left may still hide a secret, such as one in a percent-encoded query.
    """
    place, _, query = NOT_IN_FIELDS.sub("", url).partition("#")[0].strip().partition("?")
    for _ in range(_DECODINGS):
        if found := _USERINFO.match(place):
            place = f"{found[1] or ''}{place[found.end() :].lstrip()}"
    decoded = _decoded(place)
    if _may_hide_password(decoded) or any(map(_names_secret, _MARKS.split(decoded)[1:])):
        return ""
    rest = "&".join(part for part in query.split("&") if not _has_secret(_decoded(part)))
    return (f"{place}?{rest}" if rest else place).strip()


def _decoded(text: str) -> str:
    """Return a text without percent-encoding, however often it was encoded; "?token=" at worst."""
    for _ in range(_DECODINGS):
        encoded, text = text, unquote_plus(text)
        if text == encoded:
            return text
    return f"?{PARAMETER}="


def names_secret(name: str) -> bool:
    """Return whether a parameter of a query or a header field of this name may be a secret."""
    return _SECRET_NAME.search(name) is not None


def _may_hide_password(place: str) -> bool:
    """Return whether a URL without a query may have userinfo at a place where none is cut out."""
    return any((_USERINFO.match(place), _USERINFO_WITHIN.search(place), _NO_PORT.match(place)))


def _has_secret(decoded: str) -> bool:
    """Return whether a part of a query names a secret, or is a URL with userinfo."""
    return _names_secret(decoded) or _USERINFO_WITHIN.search(decoded) is not None


def _names_secret(decoded: str) -> bool:
    """Return whether a part of a query, or a query within it, names a secret."""
    names = (it.partition("=") for it in _MARKS.split(decoded))
    return any(equals and names_secret(name) for name, equals, _ in names)


def without_credential(headers: MultiMapping[str]) -> CIMultiDict[str]:
    """Return the header fields without the bearer token and our cookie, for the origin."""
    rest = CIMultiDict(headers)
    if _BEARER.fullmatch(rest.get("Authorization", "")) is not None:
        del rest["Authorization"]
    drop_cookies(rest, (READER_COOKIE,))
    return rest


def request_credential(method: str, target: str, headers: MultiMapping[str]) -> RequestCredential:
    """Return the credential of a request. Raises BadRequest if two tokens could count.

    Authorization counts before the query, and the query before the cookie. Query and cookie only
    permit reads: a link can hold the one and browsers send the other by themselves, so any page
    could make a browser write.
    """
    parts, target = _tokens_and_rest(target)
    query_token = _query_token(parts)
    fields = headers.getall("Authorization", ())
    if len(fields) > 1:
        raise BadRequest("Authorization is given more than once")
    bearer = _BEARER.fullmatch(fields[0]) if fields else None
    if bearer is not None:
        return RequestCredential(bearer[1], target)
    if fields or method not in READING:  # another scheme, which is for the origin
        return RequestCredential(None, target)
    if query_token is not None:
        return RequestCredential(query_token, target)
    # Of several, browsers send the one with the longest path first (RFC 6265 section 5.4).
    cookies = (value for line in headers.getall("Cookie", ()) for value in _COOKIE.findall(line))
    return RequestCredential(next(cookies, None), target)


def with_token(headers: MultiMapping[str], token: str | None) -> MultiMapping[str]:
    """Return the headers of a reader with its token of the query or the cookie in Authorization.

    There the token gets into no cache key and no log, and any origin can read it.
    """
    if token is None or "Authorization" in headers:
        return headers
    fields = CIMultiDict(headers)
    fields["Authorization"] = f"Bearer {token}"
    return fields
