"""Targets, paths and queries in one canonical form, so that equal requests are equal text.

Route, name, permissions, cache keys and the request to an origin all use the text that
`canonical_target` returns. So two parts of the gateway cannot interpret a target differently.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from headgate_gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESERVED = "__ds"  # first segment of the protocol's control paths (section 6)
LISTING = f"{RESERVED}/streams"  # the list of a route's streams, an addition to the protocol
MCP = "mcp"  # the name in place of a stream's at which a route takes requests of MCP
MAX_PATH_BYTES = 2048  # fits every proxy's default request line, and bounds keys everywhere

# A path in its canonical form, as far as that is seen at once.
PLAIN = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+")
_SPLIT = re.compile(r"%([0-9A-Fa-f]{2})|([A-Za-z0-9._~!$&'()*+,;=:@/-])|(.)", re.DOTALL)
_QUERY_SPLIT = re.compile(r"%([0-9A-Fa-f]{2})|([A-Za-z0-9._~!$'()*+,;=:@/?-])|(.)", re.DOTALL)
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9._~!$'()*+,;=:@/?-]+")
MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CUT = re.compile(r"%[0-9A-Fa-f]?\Z")  # the beginning of a character that is percent-encoded
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# RFC 9112 section 3.2.2. Not by urlsplit: it leaves out line ends, blanks and a fragment.
_ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)(.*)", re.DOTALL)


def canonical_path(raw: str) -> str:
    """Return the path in canonical percent-encoding. Raises BadRequest.

    Unreserved characters stand for themselves, everything else that needs it is encoded in upper
    case; an encoded slash stays encoded, since it is not a separator (RFC 3986 section 6.2.2).
    """
    if len(raw.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise BadRequest(f"the path is over {MAX_PATH_BYTES} bytes")
    if PLAIN.fullmatch(raw) is not None:
        return raw
    check_whole(raw)
    path = "".join(canonical_parts(raw))
    if len(path) > MAX_PATH_BYTES:
        raise BadRequest(f"the path is over {MAX_PATH_BYTES} bytes when it is encoded")
    _check_text(path)
    if not path.startswith("/"):
        raise BadRequest("the path must begin with /")
    segments = path[1:].removesuffix("/").split("/")
    if "" in segments and path != "/":
        raise BadRequest("the path has an empty segment")
    if "." in segments or ".." in segments:
        raise BadRequest("the path has a dot segment")
    return path


def canonical_beginning(raw: str) -> str:
    """Return the canonical form of the beginning of a path, which may end anywhere.

    A % that begins no percent-encoding is kept as %25. Raises BadRequest.
    """
    try:
        size = len(raw.encode())
    except UnicodeEncodeError as error:
        raise BadRequest("the beginning of a path is not UTF-8") from error
    if size > MAX_PATH_BYTES:
        raise BadRequest(f"no path is over {MAX_PATH_BYTES} bytes")
    whole = _CUT.sub("", raw)
    parts = canonical_parts(MALFORMED.sub("%25", whole))
    return "".join(parts) + raw[len(whole) :].upper()


def is_list(path: str) -> bool:
    """Return whether a path is that of the list of a route's streams, whatever the route."""
    return path.endswith(f"/{LISTING}")


def check_whole(raw: str) -> None:
    """Raise BadRequest for a # (a target has no fragment, RFC 9112 section 3.2).

    Caches in front take it for the end, and would keep the answer under another URL.
    """
    if "#" in raw:
        raise BadRequest("the URL has a #, which is sent as %23")


def canonical_parts(raw: str, split: re.Pattern[str] = _SPLIT, where: str = "path") -> list[str]:
    """Return the characters of a text in canonical percent-encoding. Raises BadRequest."""
    parts = []
    for match in split.finditer(raw):
        encoded, plain, other = match.groups()
        if plain is not None:
            parts.append(plain)
        elif encoded is not None:
            character = chr(int(encoded, 16))
            parts.append(character if character in _UNRESERVED else f"%{encoded.upper()}")
        elif other == "%":
            raise BadRequest(f"the {where} has a malformed percent-encoding")
        else:
            parts.extend(f"%{byte:02X}" for byte in other.encode("utf-8", "surrogateescape"))
    return parts


def _check_text(path: str) -> None:
    decoded = unquote_to_bytes(path)
    try:
        decoded.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("the path is not UTF-8") from error
    if any(byte < 0x20 or byte == 0x7F for byte in decoded):
        raise BadRequest("the path has a control character")


def parse_query(raw: str) -> dict[str, str]:
    """Parse the keys and values of a canonical target's query.

    Raises BadRequest for a repeated key: either could count.
    """
    values: dict[str, str] = {}
    is_encoded = "%" in raw or "+" in raw or not raw.isascii()
    for part in raw.split("&"):
        if not part:
            continue
        key, _, value = part.partition("=")
        if is_encoded:
            key, value = _decode_query(key), _decode_query(value)
        if key in values:
            raise BadRequest(f"the query parameter {key[:64]!r} is given more than once")
        values[key] = value
    return values


def _decode_query(text: str) -> str:
    if MALFORMED.search(text):
        raise BadRequest("the query has a malformed percent-encoding")
    try:
        return unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError as error:
        raise BadRequest("the query is not UTF-8") from error


def canonical_query(raw: str, drop: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return a query in canonical form, and the values of its first keys as they stand there.

    It is sorted by key, in one percent-encoding.
    Keys that match `drop` (`*` at the end stands for any rest) are left out. Equal keys keep their
    order, and `+`, which means a space to some and itself to others, stays as it is.
    """
    check_whole(raw)
    pairs = []
    for part in raw.split("&"):
        if not part:
            continue
        text = part
        if _PLAIN_QUERY.fullmatch(part) is None:
            text = "".join(canonical_parts(part, _QUERY_SPLIT, "query"))
        key = text.partition("=")[0]
        if not (drop and any(fits(pattern, key) for pattern in drop)):
            pairs.append((key, text))
    if len(pairs) > 1:
        pairs.sort(key=_sort_key)
    values: dict[str, str] = {}
    for key, text in pairs:
        values.setdefault(key, text[len(key) + 1 :])
    return "&".join(text for _, text in pairs), values


def _sort_key(pair: tuple[str, str]) -> str:
    """Return the sort key of a pair: for servers that take `+` literally, `%2B` is equal."""
    return pair[0].replace("%2B", "+")


def fits(pattern: str, key: str) -> bool:
    """Return whether a query key matches a pattern."""
    return key.startswith(pattern[:-1]) if pattern.endswith("*") else key == pattern


def dropping(drop: Sequence[str]) -> re.Pattern[str] | None:
    """Return a pattern for dropped keys in a target without percent-encoding, None if none are."""
    patterns = [
        f"{re.escape(pattern[:-1])}[^=&]*" if pattern.endswith("*") else re.escape(pattern)
        for pattern in drop
    ]
    return re.compile(rf"[?&](?:{'|'.join(patterns)})(?:[=&]|\Z)") if patterns else None


def canonical_host(named: str) -> str:
    """Return a host in canonical form: in lower case, without the default port."""
    return named.lower().removesuffix(":80").removesuffix(":")


def canonical_target(raw: str, host: str = "") -> str:
    """Return the path of a request's target in its canonical spelling, and the query as sent.

    A whole URL has to name the `host` that the Host field does: of two, either could count.
    Raises BadRequest. What it gives stays as it is when it is given to it again.
    """
    target = raw if raw.startswith("/") else _of_this_host(raw, host)
    check_whole(target)
    path, mark, query = target.partition("?")
    return f"{canonical_path(path)}{mark}{query}"


def split(target: str) -> tuple[str, str]:
    """Split a canonical target into its path and its query as it was sent."""
    path, _, query = target.partition("?")
    return path, query


def taken_out(target: str, picks: Callable[[str], bool]) -> tuple[list[str], str]:
    """Return the picked parts of a query as they were sent, and the target without them."""
    path, query = split(target)
    parts = query.split("&")
    picked = [part for part in parts if picks(part)]
    if not picked:
        return picked, target
    rest = "&".join(part for part in parts if not picks(part))
    return picked, f"{path}?{rest}" if rest else path


def _of_this_host(raw: str, host: str) -> str:
    match = _ABSOLUTE.fullmatch(raw)
    if match is None or not match[1] or canonical_host(match[1]) != canonical_host(host):
        raise BadRequest("the request target is not a path, nor a URL of the host in Host")
    return match[2] if match[2].startswith("/") else f"/{match[2]}"
