"""The targets of requests to a route, parsed as reads of its origin's streams."""

from __future__ import annotations

from functools import lru_cache

from gateway.access.reader_keys import PARAMETER
from gateway.errors import HeadgateError
from gateway.protocol.http.paths import dropping
from gateway.protocol.origins.edge_target import EdgeRead, parse_edge_target, plain_catch_up

REMEMBERED_TARGETS = 4096  # parsed; a thousand viewers of a stream send the same few


class EdgeTargets:
    """The parser of one route's targets, without `drop_query` and without reader keys.

    `parse` returns the read that a target asks for, or the error that it means; the latest results
    are remembered.
    """

    def __init__(self, drop_query: tuple[str, ...], *, has_reader_keys: bool) -> None:
        self.drop_query = drop_query
        # A reader key is for the caches in front of this gateway.
        self._dropped = (*drop_query, PARAMETER) if has_reader_keys else drop_query
        self._drops = dropping(self._dropped)
        self.parse = lru_cache(REMEMBERED_TARGETS)(self._parse)

    def _parse(self, target: str) -> EdgeRead | HeadgateError:
        try:
            if self._drops is None or self._drops.search(target) is None:
                read = plain_catch_up(target)
                if read is not None:
                    return read
            return parse_edge_target(target, self._dropped)
        except HeadgateError as error:
            return error.with_traceback(None)
