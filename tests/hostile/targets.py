"""Targets that one reader takes for another path than the next, and what they plainly say."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from hypothesis import strategies as st

# Odd, but of one meaning.
CLEAR = (
    *("a", "A", "%61", "b", "name", "%7e", "~", "x.css", "static", "private", "...", ".a"),
    *("%2f", "%2F..%2f", "%5c", "\\", "\\..\\", "%252e%252e", "%252f", "%25", "%20", "+", "%2e."),
    *(";", ";.js", "%3b", ";jsessionid=1", "%23", "%3f", "&", "=", "*", "|", "^", "{}", ":80"),
    *("\u00e9", "e\u0301", "%c3%a9", "%C3%A9", "\u202e", "\uff0f", "@", "a@b", "http:", "[", "]"),
)
UNCLEAR = (
    *(".", "..", "%2e", "%2E%2e", ".%2e", "#", "?", "%", "%a", "%zz", "%u002f", "%ff", "%c0%af"),
    *("%00", "%0a", "%0d%0aX-Evil:1", "%7f", "%1b[31m", "%09", "%ed%a0%80", "http://evil.example"),
    "",
)
QUERIES = (
    *("", "?", "?offset=-1", "?offset=1&a=2", "?a=2&offset=1", "?a=1&b=2", "?b=2&a=1"),
    *("?a=1;offset=5", "?%61=1", "?a=%31", "?a=%0d%0aX:1", "?a=%00", "?/../x", "?a=//b", "?a=?"),
    *("?#", "?a#b", "?offset=1&offset=2", "?a=%", "?utm_x=1&a=2", "?a=+", "?a=%2b", "?&&", "?=1"),
)
# In front of the path: a URL of this host, of another, or of none.
FRONTS = (
    *("http://{host}", "HTTP://{host}", "https://{host}"),
    *("http://evil.example", "http://{host}@evil.example", "http://u:p@{host}", "http://{host}:81"),
    *("http://", "//{host}", "/", "ftp://{host}", "http:/", "http:", "{host}", "*", "\\"),
)
HOSTS = ("a.example", "A.Example", "a.example:80", "a.example:", "b.example", "[::1]:8080")

_clear = st.lists(st.sampled_from(CLEAR), min_size=1, max_size=3).map("".join)
_any = st.lists(st.sampled_from(CLEAR + UNCLEAR), max_size=3).map("".join)
names = st.one_of(
    st.lists(_clear, min_size=1, max_size=4).map("/".join),
    st.lists(_any, min_size=1, max_size=3).map("/".join),
)
hosts = st.sampled_from(HOSTS)
fronts = st.one_of(st.just(""), st.sampled_from(FRONTS))
queries = st.sampled_from(QUERIES)


class Plain(NamedTuple):
    """What a target says without any reading of it: the bytes of each segment, and the query."""

    segments: list[bytes]
    query: str


def plain(target: str) -> Plain:
    """By nothing but the marks of RFC 3986: / parts segments, and %XX is a byte of one."""
    path, _, query = re.sub(r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?]*", "", target).partition("?")
    return Plain([unquote_to_bytes(one.encode()) for one in path.split("/")], query)


def head(method: str, target: str, host: str, *lines: str) -> bytes:
    """A request as it goes over the wire, however odd its target is."""
    length = ("Content-Length: 1", "Content-Type: text/plain") if method in {"PUT", "POST"} else ()
    text = "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *length, *lines, "", ""])
    return text.encode() + (b"x" if length else b"")
