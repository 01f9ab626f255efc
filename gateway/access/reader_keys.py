"""Reader keys: part of a private stream's URL, so that caches which verify nobody may keep it.

Whoever may read a stream is told its key, and asks for a URL that others cannot know. The key is no
credential: who asks the gateway still needs one.
"""

from __future__ import annotations

import base64
import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from gateway.access.operations import READ, Grant
from gateway.protocol.http.target import taken_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.protocol.requests import Read

PARAMETER = "rk"
KEY_BYTES = 16  # 128 bits: nobody guesses it, and it adds 26 characters to a URL
REMEMBERED_KEYS = 4096  # of streams that are read: 1 MB; another costs 5 us
_PURPOSE = b"headgate reader key"
_R = TypeVar("_R", bound="Read")


class ReaderKeys:
    """The key of each stream, made of a secret, its path, and the versions of what covers it.

    `versions` are by pattern: a path, or one with `/*` for all below it. A higher number makes
    another key. Each of `on_rotation` is called when that has happened.
    """

    def __init__(self, secret: bytes, versions: Mapping[str, int]) -> None:
        self._secret = secret
        self._versions: list[tuple[Grant, int]] = []
        self.on_rotation: list[Callable[[], None]] = []
        self.of = lru_cache(REMEMBERED_KEYS)(self._key)
        self.take(secret, versions)

    def take(self, secret: bytes | None, versions: Mapping[str, int]) -> None:
        """Go by these from now on; without a secret, by the last one."""
        secret = self._secret if secret is None else secret
        new = [(Grant(streams, READ), version) for streams, version in sorted(versions.items())]
        if (secret, new) == (self._secret, self._versions):
            return
        self._secret, self._versions = secret, new
        self.of.cache_clear()
        for rotated in self.on_rotation:
            rotated()

    def _key(self, path: str) -> str:
        """Compute the current key of the stream at a canonical path."""
        made = [_PURPOSE, path.encode()]
        made += [f"{it.streams} {n}".encode() for it, n in self._versions if it.covers(path)]
        # No path has a line end.
        digest = hmac.digest(self._secret, b"\n".join(made), "sha256")[:KEY_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def is_current(self, path: str, given: str | None) -> bool | None:
        """Return whether a reader's key is the current one; None for a reader without a key."""
        if given is None:
            return None
        return hmac.compare_digest(given.encode(errors="replace"), self.of(path).encode())

    def noted(self, read: _R, target: str) -> _R:
        """Return a read with its stream's current key, and whether its target has that key."""
        given, _ = without_key(target)
        by_key = self.is_current(read.path, given)
        return replace(read, told_key=self.of(read.path), by_key=by_key)

    def is_as_told(self, read: Read) -> bool:
        """Return whether the key in the response to `read` would still be the current one."""
        return read.told_key == self.of(read.path)

    def marked(self, read: _R, target: str) -> _R:
        """Return a read with its key noted, and a target of its own for responses by that key."""
        read = self.noted(read, target)
        if read.by_key is None:
            return read
        key = f"={read.told_key}" if read.by_key else ""
        return replace(read, target=f"{read.target}&{PARAMETER}{key}")


def renewed(keys: ReaderKeys | None, read: _R) -> _R:
    """Return a read that has waited with the current key, which may be newer than its URL's."""
    if keys is None or keys.is_as_told(read):
        return read
    target = read.target.removesuffix(f"={read.told_key}") if read.by_key else read.target
    by_key = None if read.by_key is None else False
    return replace(read, target=target, told_key=keys.of(read.path), by_key=by_key)


def without_key(target: str) -> tuple[str | None, str]:
    """Return the first key in a target's query, or None, and the target without its keys."""
    begins = f"{PARAMETER}="
    if begins not in target:
        return None, target
    parts, rest = taken_out(target, lambda part: part.startswith(begins))
    return (parts[0].removeprefix(begins) if parts else None), rest
