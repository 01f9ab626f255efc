"""Reader keys: part of a private stream's URL, so that caches that verify no token may store it.

Clients that may read a stream get its key in responses, and send it in URLs that others cannot
guess. The key is no credential: a request to the gateway still needs one.
"""

from __future__ import annotations

import base64
import hmac
from collections import deque
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from msgspec.structs import replace

from headgate_gateway.access.operations import READ, Grant
from headgate_gateway.protocol.http.paths import taken_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.store import Caches

PARAMETER = "rk"
KEY_BYTES = 16  # 128 bits: too many to guess; it adds 26 characters to a URL
REMEMBERED_KEYS = 4096  # of streams that are read: 1 MB; another costs 5 us
MOST_FORMER = 1_000  # former states of the file, 70 bytes each: three changes a day for a year
_PURPOSE = b"headgate reader key"
_R = TypeVar("_R", bound="Read")


class ReaderKeys:
    """The keys of all streams, made from a secret, the path, its versions, and all revocations.

    `versions` are by pattern: a path, or a path with `/*` for all streams below it. Another number
    makes another key, and so does any change of the revocations, of which `revoked` is a digest: a
    revocation does not say which keys its reader knows. After a change the `caches` of routes with
    keys are cleared.
    """

    def __init__(self, secret: bytes, versions: Mapping[str, int], revoked: str) -> None:
        self._secret, self._versions, self._revoked = secret, _by_grant(versions), revoked
        self._former: deque[bytes] = deque(maxlen=MOST_FORMER)
        self.caches: WeakSet[Caches] = WeakSet()  # a reload may remove some
        self.of = lru_cache(REMEMBERED_KEYS)(self._key)

    def update(self, secret: bytes | None, versions: Mapping[str, int], revoked: str) -> None:
        """Set the secret, the versions and the revocations; None keeps the last secret."""
        secret = self._secret if secret is None else secret
        new = _by_grant(versions)
        if (secret, new, revoked) == (self._secret, self._versions, self._revoked):
            return
        if secret == self._secret:
            self._former.append(_digest(self._versions, self._revoked))
        else:
            self._former.clear()
        self._secret, self._versions, self._revoked = secret, new, revoked
        self.of.cache_clear()
        for cached in self.caches:
            cached.clear()

    def are_former(self, versions: Mapping[str, int], revoked: str) -> bool:
        """Return whether these would make keys again that others have replaced."""
        new = _by_grant(versions)
        is_changed = (new, revoked) != (self._versions, self._revoked)
        return is_changed and _digest(new, revoked) in self._former

    def _key(self, path: str) -> str:
        """Compute the current key of the stream at a canonical path."""
        parts = [_PURPOSE, self._revoked.encode(), path.encode()]
        parts += [f"{it.streams} {n}".encode() for it, n in self._versions if it.covers(path)]
        # Joined by line ends, which no path has.
        digest = hmac.digest(self._secret, b"\n".join(parts), "sha256")[:KEY_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def is_current(self, path: str, key: str | None) -> bool | None:
        """Return whether a reader's key is the current one; None for a reader without a key."""
        if key is None:
            return None
        return hmac.compare_digest(key.encode(errors="replace"), self.of(path).encode())

    def with_key(self, read: _R, target: str) -> _R:
        """Return a read with its stream's current key, and whether its target has that key."""
        key, _ = without_key(target)
        by_key = self.is_current(read.path, key)
        return replace(read, reader_key=self.of(read.path), by_key=by_key)

    def is_unchanged(self, read: Read) -> bool:
        """Return whether the key that was noted in `read` is still the current one."""
        return read.reader_key == self.of(read.path)

    def with_cache_target(self, read: _R, target: str) -> _R:
        """Return a read with its key, and a target under which only its responses are cached."""
        read = self.with_key(read, target)
        if read.by_key is None:
            return read
        key = f"={read.reader_key}" if read.by_key else ""
        return replace(read, target=f"{read.target}&{PARAMETER}{key}")


def _by_grant(versions: Mapping[str, int]) -> list[tuple[Grant, int]]:
    return [(Grant(streams, READ), version) for streams, version in sorted(versions.items())]


def _digest(versions: list[tuple[Grant, int]], revoked: str) -> bytes:
    return sha256(repr(([(it.streams, n) for it, n in versions], revoked)).encode()).digest()


def renewed(keys: ReaderKeys | None, read: _R) -> _R:
    """Return a read that has waited, with the current key, which may be another one by now."""
    if keys is None or keys.is_unchanged(read):
        return read
    target = read.target.removesuffix(f"={read.reader_key}") if read.by_key else read.target
    by_key = None if read.by_key is None else False
    return replace(read, target=target, reader_key=keys.of(read.path), by_key=by_key)


def without_key(target: str) -> tuple[str | None, str]:
    """Return the first key in a target's query, or None, and the target without its keys."""
    begins = f"{PARAMETER}="
    if begins not in target:
        return None, target
    parts, rest = taken_out(target, lambda part: part.startswith(begins))
    return (parts[0].removeprefix(begins) if parts else None), rest
