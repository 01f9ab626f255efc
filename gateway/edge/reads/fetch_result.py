"""The result of a fetch, and a request's part in it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from gateway.edge.rules.cached_response import CachedResponse

if TYPE_CHECKING:
    from gateway.edge.reads.shared_body import SharedBodyReader


class FetchOutcome(Enum):
    """The outcome of a request."""

    FETCHED = "fetched"
    CONFIRMED = "confirmed"
    STOOD_IN = "stood in"  # the origin failed


# In Python 3.11 a member costs as much as a call when it is looked up in its class.
FETCHED, CONFIRMED, STOOD_IN = FetchOutcome


class FetchResult(msgspec.Struct, frozen=True):
    """A whole answer, and how it came."""

    cached: CachedResponse
    how: FetchOutcome


class FetchPart:
    """The share of one request in a fetch, with a `reader` for a body that arrives in parts.

    If it `is_held`, the request that has the response removes it.
    """

    is_held = False
    reader: SharedBodyReader | None = None
