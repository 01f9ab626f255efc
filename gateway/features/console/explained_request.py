"""A request to explain: what would happen to it if a client sent it now."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from multidict import MultiMapping


class ExplainedRequest(NamedTuple):
    """A request whose route is known; `name` is the part of its path behind the prefix."""

    method: str
    target: str
    headers: MultiMapping[str]
    name: str
