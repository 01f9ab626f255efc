"""Cache-Status as a parser of structured fields reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import http_sf

from headgate_gateway.protocol.http.cache_status import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence


def members(text: str) -> list[tuple[str, dict[str, object]]]:
    """Each cache's name, and what it says."""
    found: Any = http_sf.parse(text.encode(), tltype="list")
    assert all(isinstance(name, http_sf.Token | str) for name, _ in found)
    return [
        (
            str(name),
            {
                key: str(value) if isinstance(value, http_sf.Token) else value
                for key, value in parameters.items()
            },
        )
        for name, parameters in found
    ]


def said(values: Sequence[str]) -> dict[str, object]:
    """What this gateway alone says in the field's lines."""
    [(name, parameters)] = members(", ".join(values))
    assert name == NAME
    return parameters
