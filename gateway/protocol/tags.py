"""Tags: by them a cache in front finds all it has kept of a stream, or of a route, to purge it.

A tag is short however long the path is, and nothing in it can break out of a header, a regular
expression or a URL. `printf %s PATH | sha256sum | cut -c1-16` prints what follows `s-` and `r-`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import CIMultiDict

# Of a million streams of one CDN two have the same in one of 37 million cases; they are then
# purged together.
DIGITS = 16
# The header of Fastly and of most who write VCL, that of Cloudflare, and that of Bunny.
HEADERS = (("Surrogate-Key", " "), ("Cache-Tag", ","), ("CDN-Tag", ","))

_LASTS = re.compile(r"\b(?:max-age|s-maxage|stale-while-revalidate)=0*[1-9]")


def of_stream(path: str) -> str:
    """Return the tag of the stream at a canonical path."""
    return f"s-{_digest(path)}"


def of_route(prefix: str) -> str:
    """Return the tag that all streams of a route have."""
    return f"r-{_digest(prefix)}"


def _digest(path: str) -> str:
    return sha256(path.encode()).hexdigest()[:DIGITS]


@lru_cache(maxsize=4096)  # the streams in use are answered for again and again
def lines(path: str, route: str) -> str:
    """Return the tag lines of a response about the stream at `path`, with its route's tag."""
    stream = of_stream(path)
    return "".join(f"{name}: {stream}{between}{route}\r\n" for name, between in HEADERS)


@lru_cache(maxsize=256)  # most answers say one of a few things
def lets_shared_caches_keep(lifetimes: str) -> bool:
    """Return whether lines such as Cache-Control let a cache give a response to others."""
    directives = lifetimes.lower()
    return (
        "private" not in directives
        and "no-store" not in directives
        and _LASTS.search(directives) is not None
    )


def retag(fields: CIMultiDict[str], path: str, route: str, *, is_tagged: bool) -> None:
    """Give an origin's answer these tags, or take them away; those that it has itself stay."""
    ours = [of_stream(path), route]
    for name, between in HEADERS:
        listed = re.split(r"[\s,]+", ",".join(fields.popall(name, ())))
        others = [tag for tag in listed if tag and tag not in ours]
        if others or is_tagged:
            fields[name] = between.join([*others, *(ours if is_tagged else ())])
