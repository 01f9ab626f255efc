"""The time for which an nginx with a rendered file stores a response: the rest of its lifetime.

nginx ignores Age. An nginx that sends NGINX_FIELD gets the rest in X-Accel-Expires. The rows of
STORED_BY give the lifetime; the map in the rendered file is made of the same rows.
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import Template
from typing import NamedTuple

NO_STORE = "no-store"


class StoredBy(NamedTuple):
    """A row of the map: responses that match `pattern` are stored by this Cache-Control.

    The pattern is searched, in any case, in the values of Surrogate-Control, CDN-Cache-Control and
    Cache-Control, joined as `{},{}|{}`. In `control`, `$NAME` stands for a group of the pattern. A
    row that is `private` is in files whose copies are for one reader each, or for admitted readers.
    """

    pattern: str
    control: str
    private: bool = False


# nginx ignores fields for CDNs, and does not store "no-cache, s-maxage=1", which only means
# browsers. The first row that matches counts; what matches none is not stored.
STORED_BY = (
    StoredBy(r"^[^|]*no-(?:store|cache)", NO_STORE),
    StoredBy(r"^(?P<headgate_edge>[^|]*max-age=[0-9][^|]*)\|", "$headgate_edge"),
    StoredBy(r"\|.*no-store", NO_STORE),
    StoredBy(r"\|.*s-maxage=(?P<headgate_shared>[0-9]+)", "max-age=$headgate_shared"),
    StoredBy(r"\|(?=.*private).*no-cache", "max-age=1", private=True),
    StoredBy(
        r"\|(?=.*private).*max-age=(?P<headgate_own>[0-9]+)",
        "max-age=$headgate_own",
        private=True,
    ),
    StoredBy(r"\|.*no-cache", NO_STORE),
    StoredBy(r"\|(?P<headgate_all>.*max-age.*)$", "$headgate_all"),
)
_PATTERNS = [(re.compile(it.pattern, re.IGNORECASE), Template(it.control)) for it in STORED_BY]
# nginx reads the first of these, up to what ends the number; anything else is not stored.
_SECONDS = [
    re.compile(rf"{name}=([0-9]{{1,10}})(?:[,; ]|$)|{name}=", re.IGNORECASE)
    for name in ("s-maxage", "max-age")
]
_LINE = re.compile(
    rb"^(surrogate-control|cdn-cache-control|cache-control|x-accel-expires):[ \t]*([^\r]*)\r\n",
    re.IGNORECASE | re.MULTILINE,
)
_EXPIRES = b"x-accel-expires"


def lines_for_nginx(lines: bytes, age_s: int) -> bytes:
    """Return the header lines of a response with an Age of `age_s` for nginx.

    X-Accel-Expires is the rest of the lifetime, in seconds. An X-Accel-Expires of the origin is
    dropped: nginx would use that in place of the gateway's Cache-Control.
    """
    values = {match[1].lower(): match[2] for match in _LINE.finditer(lines)}
    if _EXPIRES in values:
        lines = _LINE.sub(lambda it: b"" if it[1].lower() == _EXPIRES else it[0], lines)
    if not age_s:
        return lines
    directives = b"%b,%b|%b" % (
        values.get(b"surrogate-control", b""),
        values.get(b"cdn-cache-control", b""),
        values.get(b"cache-control", b""),
    )
    lifetime_s = stored_s(directives.decode("latin-1"))
    if lifetime_s is None:
        return lines
    return lines + b"X-Accel-Expires: %d\r\n" % max(0, lifetime_s - age_s)


@lru_cache(maxsize=256)  # most origins use a few values for all their streams
def stored_s(directives: str) -> int | None:
    """Return for how many seconds nginx stores a response with an Age of 0; None if it does not.

    `directives` are the values of the three fields, joined as for `StoredBy`.
    """
    for pattern, control in _PATTERNS:
        if (match := pattern.search(directives)) is not None:
            return _seconds(control.substitute(match.groupdict()))
    return None


def _seconds(control: str) -> int | None:
    if NO_STORE in control.lower():
        return None
    found = next(filter(None, (pattern.search(control) for pattern in _SECONDS)), None)
    return None if found is None or found[1] is None else int(found[1])
