"""The names of Headgate's keys, channels and functions in Redis."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.logs.redis.connection import pack

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.connection import Packed

# The library is named after its text, so that two versions of it never meet.
_FOLDER = resources.files(__package__)
_SOURCE = _FOLDER.joinpath("headgate.lua").read_text()
VERSION = hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]
LIBRARY = _SOURCE.replace("@VERSION@", VERSION)
HISTORY_LIBRARY = _FOLDER.joinpath("history.lua").read_text()  # common to all versions
# How many of a stream's keys a function takes.
_KEYS = {"load": 3, "trim": 2, "purge": 2, "confirm": 1, "state": 1}


def _beginning(function: str) -> bytes:
    """Return the first words of a packed call of a function, without the number of words."""
    return pack("FCALL", function)[0].partition(b"\r\n")[2]


# The functions that have a twin which writes nothing, by the first words of their calls.
_TWINS = {
    _beginning(f"headgate_{name}_{VERSION}"): _beginning(f"headgate_{name}_ro_{VERSION}")
    for name in ("load", "confirm", "state")
}


def twin_of(call: Packed) -> Packed | None:
    """Return the call of the twin that writes nothing, or None if the function has none."""
    count, line_end, words = call[0].partition(b"\r\n")
    for beginning, twin in _TWINS.items():
        if words.startswith(beginning):
            return (count + line_end + twin + words[len(beginning) :], *call[1:])
    return None


class RedisNames(NamedTuple):
    """The names of keys and channels under a prefix."""

    prefix: str

    def meta(self, path: str) -> str:
        """Return the first key of a stream, which is also the name of its channel.

        Braces are percent-encoded in a path, so the whole of it is the key's hash tag.
        """
        return f"{self.prefix}:{{{path}}}"

    def path(self, meta: bytes) -> str:
        """Return the path of the stream with this meta key."""
        return meta.decode()[len(self.prefix) + 2 : -1]

    def keys(self, path: str) -> tuple[str, str, str]:
        """Return the keys of a stream, in the order of the functions' arguments."""
        meta = self.meta(path)
        return meta, f"{meta}:records", f"{meta}:retired"

    def records(self, path: str) -> str:
        """Return the key of a stream's records."""
        return f"{self.meta(path)}:records"

    def call(self, function: str, path: str) -> Packed:
        """Return the call of a function (see headgate.lua) that takes keys of a stream alone."""
        keys = self.keys(path)[: _KEYS[function]]
        return pack("FCALL", f"headgate_{function}_{VERSION}", len(keys), *keys)

    @property
    def paths(self) -> str:
        """The sorted set of the streams' paths, all with one score, so that they sort as text."""
        return f"{self.prefix}:paths"

    @property
    def deadlines(self) -> str:
        """The sorted set of paths by the time at which something is to be done about them."""
        return f"{self.prefix}:deadlines"

    @property
    def removals_channel(self) -> str:
        """The channel on which removals are published, for gateways that cache responses."""
        return f"{self.prefix}:gone"


def form_written() -> tuple[str, str]:
    """Return what this log has in Redis besides streams, and its version."""
    return "functions in Redis", VERSION
