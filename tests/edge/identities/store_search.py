"""Looks through all that a store keeps, down to the bytes, for what must not be there."""

from __future__ import annotations

import gc
import types
from typing import TYPE_CHECKING, Any

from headgate_gateway.edge.reads.http_cache import HttpCache
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.telemetry.traffic import CacheShare, Hits

if TYPE_CHECKING:
    from headgate_gateway.store import Store

# What entries lead to and do not hold: code, counters, and the cache by which a tail is asked, with
# the requests that are under way.
_ELSEWHERE = (types.ModuleType, Hits, CacheShare, IdentityHeaders, HttpCache)


def found_in_store(store: Store[Any], word: str) -> tuple[int, list[str]]:
    """How many objects there are, and those that hold the word."""
    pending: list[Any] = [store._new, store._used, store.by_group]
    seen: set[int] = set()
    found = []
    while pending:
        one = pending.pop()
        if id(one) in seen or callable(one) or isinstance(one, _ELSEWHERE):
            continue
        seen.add(id(one))
        if isinstance(one, bytes | bytearray):
            found += [repr(one)[:200]] if word.encode() in one else []
        elif isinstance(one, str):
            found += [one[:200]] if word in one else []
        else:
            pending += gc.get_referents(one)
    return len(seen), found
