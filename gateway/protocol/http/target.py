"""The canonical form of a request's target, from which everything else about it is derived.

Route, name, permissions, cache keys and the request to an origin all use the text that
`canonical_target` returns. So two parts of the gateway cannot interpret a target differently.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import BadRequest
from gateway.protocol.http.paths import canonical_host, canonical_path, check_whole

if TYPE_CHECKING:
    from collections.abc import Callable

# RFC 9112 section 3.2.2. Not by urlsplit: it leaves out line ends, blanks and a fragment.
_ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)(.*)", re.DOTALL)


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
    path, _, query = target.partition("?")
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
