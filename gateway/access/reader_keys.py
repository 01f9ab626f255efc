"""Reader keys: part of a private stream's URL, so that caches which verify nobody may keep it.

Whoever may read a stream is told its key, and asks for a URL that others cannot know. The key is no
credential: who asks the gateway still needs one.
"""

from __future__ import annotations

import base64
import hmac
import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from gateway.access.operations import READ, Grant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.protocol.requests import Read

R = TypeVar("R", bound="Read")

PARAMETER = "rk"
KEY_BYTES = 16  # 128 bits: nobody guesses it, and it adds 26 characters to a URL
REMEMBERED_KEYS = 4096  # of streams that are read: 1 MB; another costs 5 us
_PURPOSE = b"headgate reader key"
_GIVEN = re.compile(rf"[?&]{PARAMETER}=([^&]*)")


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
        """The current key of the stream at a canonical path."""
        made = [_PURPOSE, path.encode()]
        made += [f"{it.streams} {n}".encode() for it, n in self._versions if it.covers(path)]
        # No path has a line end.
        digest = hmac.digest(self._secret, b"\n".join(made), "sha256")[:KEY_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def applied(self, read: Read, target: str) -> Read:
        """A read of a target that may have a key, which no other part of the gateway looks at.

        Reads whose answers caches may keep otherwise have another `target`.
        """
        key = self.of(read.path)
        given = _GIVEN.search(target, target.find("?") if "?" in target else len(target))
        if given is None:
            return replace(read, told_key=key)
        by_key = hmac.compare_digest(given[1].encode(), key.encode())
        marked = f"{read.target}&{PARAMETER}{f'={key}' if by_key else ''}"
        return replace(read, target=marked, told_key=key, by_key=by_key)

    def renewed(self, read: R) -> R:
        """A read that had to wait, as it is now: a rotation has made its key one of before."""
        key = self.of(read.path)
        if key == read.told_key:
            return read
        target = read.target.removesuffix(f"={read.told_key}") if read.by_key else read.target
        by_key = None if read.by_key is None else False
        return replace(read, target=target, told_key=key, by_key=by_key)
