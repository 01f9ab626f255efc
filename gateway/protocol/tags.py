"""Cache tags (surrogate keys) of responses, by which a CDN purges all copies of a stream or route.

A tag is short for a path of any length, and safe in a header, a regular expression and a URL.
`printf %s PATH | sha256sum | cut -c1-16` prints the part behind `s-` and `r-`.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import CIMultiDict

# Among a million streams of a CDN, two have an equal tag with a probability of 1 in 37 million;
# they are then purged together.
DIGITS = 16
# The header of Fastly and of most who write VCL, that of Cloudflare, and that of Bunny.
HEADERS = (("Surrogate-Key", " "), ("Cache-Tag", ","), ("CDN-Tag", ","))
_LINES = "".join(f"{name}: {{0}}{between}{{1}}\r\n" for name, between in HEADERS)

_LASTS = re.compile(r"\b(?:max-age|s-maxage|stale-while-revalidate)=0*[1-9]")


def _tag(kind: str, path: str) -> str:
    return f"{kind}-{sha256(path.encode()).hexdigest()[:DIGITS]}"


of_stream = partial(_tag, "s")  # of the stream at a canonical path
of_route = partial(_tag, "r")  # of a route with this prefix: all of its streams have it


@lru_cache(maxsize=4096)  # responses of the streams in use repeat them
def lines(path: str, route: str) -> str:
    """Return the tag lines of a response about the stream at `path`, with its route's tag."""
    return _LINES.format(of_stream(path), route)


@lru_cache(maxsize=256)  # most responses have one of a few values
def is_storable_by_shared_caches(lifetimes: str) -> bool:
    """Return whether lines such as Cache-Control let shared caches store a response."""
    directives = lifetimes.lower()
    return (
        "private" not in directives
        and "no-store" not in directives
        and _LASTS.search(directives) is not None
    )


def retag(fields: CIMultiDict[str], path: str, route: str, *, is_tagged: bool) -> None:
    """Add these tags to an origin's response, or remove them; its own tags stay."""
    ours = [of_stream(path), route]
    for name, between in HEADERS:
        listed = re.split(r"[\s,]+", ",".join(fields.popall(name, ())))
        others = [tag for tag in listed if tag and tag not in ours]
        if others or is_tagged:
            fields[name] = between.join([*others, *(ours if is_tagged else ())])
