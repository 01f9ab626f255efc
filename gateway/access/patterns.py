"""Grants from a token's claims, or from a configured pattern with `{claim}` in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from gateway.access.operations import OPERATIONS, Grant
from gateway.settings.grants import CLAIM, check_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.access.operations import Operation


def fill(template: str, claims: Mapping[str, object]) -> str | None:
    """Return the pattern filled with the claims, each percent-encoded as one segment.

    Return None if a claim is missing. Raises ValueError if one cannot be a segment of a path.
    """
    names = CLAIM.findall(template)
    if not all(name in claims for name in names):
        return None
    return check_pattern(CLAIM.sub(lambda match: _segment(match[1], claims), template))


def _segment(name: str, claims: Mapping[str, object]) -> str:
    value = claims[name]
    if not isinstance(value, str) or value in {"", ".", ".."}:
        raise ValueError(f"must have a claim {name} that can be a segment of a path")
    try:
        return quote(value, safe="")  # a * too, which would stand for everything below
    except UnicodeEncodeError:
        raise ValueError(f"must have a claim {name} of Unicode characters") from None


def grant_of(streams: object, operations: object) -> Grant:
    """Return a grant from a token's own claims. Raises ValueError."""
    names = operations if isinstance(operations, list) else []
    if not isinstance(streams, str) or not names or not all(map(_is_operation, names)):
        raise ValueError("must have a pattern as streams and a list of operations")
    return Grant(check_pattern(streams), frozenset(cast("list[Operation]", names)))


def _is_operation(name: object) -> bool:
    return isinstance(name, str) and name in OPERATIONS
