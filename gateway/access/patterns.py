"""Which streams a grant is about: a canonical path, maybe with `/*`, maybe with claims in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from gateway.access.operations import BELOW, OPERATIONS, Grant
from gateway.errors import BadRequest
from gateway.protocol.paths import canonical_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.access.operations import Operation

PATTERN_KIND = "a canonical path such as /v1/stream/chat, or one with /* at its end for all below"
_CLAIM = re.compile(r"\{([A-Za-z0-9_.:/-]{1,128})\}")


def check_pattern(pattern: str) -> str:
    """A pattern as it is compared, exactly; raises ValueError in words that continue "it"."""
    path = pattern.removesuffix(BELOW)
    if not path and pattern == BELOW:
        return pattern
    try:
        canonical = canonical_path(path)
    except BadRequest as refusal:
        raise ValueError(f"must be {PATTERN_KIND}: {refusal.detail}") from refusal
    if "*" in path:
        raise ValueError(f"must be {PATTERN_KIND}: it has a * before its end")
    if canonical != path or path == "/":
        raise ValueError(f"must be {PATTERN_KIND}: written {canonical}")
    return pattern


def check_template(template: str) -> str:
    """A pattern that may have a `{claim}` as a whole segment; raises ValueError as above."""
    for segment in template.split("/"):
        if {"{", "}"} & set(segment) and _CLAIM.fullmatch(segment) is None:
            raise ValueError("must have each {claim} as one whole segment of its path")
    check_pattern(_CLAIM.sub("claim", template))
    return template


def fill(template: str, claims: Mapping[str, object]) -> str | None:
    """The pattern with what the claims say, each percent-encoded as one segment.

    None where a claim is missing. Raises ValueError where one can be no segment of a path.
    """
    names = _CLAIM.findall(template)
    if not all(name in claims for name in names):
        return None
    return check_pattern(_CLAIM.sub(lambda match: _segment(match[1], claims), template))


def _segment(name: str, claims: Mapping[str, object]) -> str:
    value = claims[name]
    if not isinstance(value, str) or value in {"", ".", ".."}:
        raise ValueError(f"must have text that names one stream or folder in its claim {name!r}")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise ValueError(f"must have its claim {name!r} in Unicode") from None


def grant_of(streams: object, operations: object) -> Grant:
    """A grant as a credential tells it; raises ValueError in words that continue "it"."""
    names = operations if isinstance(operations, list) else []
    if not isinstance(streams, str) or not names or not all(map(_is_operation, names)):
        raise ValueError(
            f"must have {PATTERN_KIND} as its streams, and a list as its operations, out of "
            f"{', '.join(sorted(OPERATIONS))}"
        )
    return Grant(check_pattern(streams), frozenset(cast("list[Operation]", names)))


def _is_operation(name: object) -> bool:
    return isinstance(name, str) and name in OPERATIONS
