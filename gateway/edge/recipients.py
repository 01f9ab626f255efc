"""The recipients of a route's responses: by them it is decided which caches may store one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access import reader_keys
from gateway.edge.rules.private_fields import Recipient

if TYPE_CHECKING:
    from gateway.protocol.requests import Read
    from gateway.runtime.route import RouteAccess


class Recipients:
    """The recipients of one route's responses, which the reader keys in URLs tell apart."""

    def __init__(self, access: RouteAccess) -> None:
        self._is_private, self._keys = access.is_private, access.reader_keys
        self._anybody = Recipient(access.is_private)  # without reader keys

    def of(self, read: Read) -> Recipient:
        """Return the recipient of the response to a read."""
        if self._keys is None:
            return self._anybody
        read = reader_keys.renewed(self._keys, read)
        return Recipient(self._is_private, read.reader_key, read.by_key)

    def at(self, path: str, reader_key: str | None) -> Recipient:
        """Return the recipient of a response, from a read's path and the reader key in its URL."""
        if self._keys is None:
            return self._anybody
        keys = self._keys
        return Recipient(self._is_private, keys.of(path), keys.is_current(path, reader_key))
