"""The public keys by which an edge verifies read tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from headgate_cdn.errors import Refused
from headgate_gateway.text_files import unmarked

MOST_KEYS = 8  # one signs, one is next, and some of before still verify
LONGEST_ID = 256
LARGEST_FILE = 1 << 20

_ID = re.compile(r"[A-Za-z0-9._~-]+")
_PUBLIC = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes in base64url


class ReadKey(msgspec.Struct, frozen=True):
    """The public half of an Ed25519 key, as in a JWK (RFC 8037)."""

    kid: str
    x: str

    def __post_init__(self) -> None:
        if len(self.kid) > LONGEST_ID or not _ID.fullmatch(self.kid):
            raise Refused(f"{ascii(self.kid)[:128]} is no id of a key")
        if not _PUBLIC.fullmatch(self.x):
            raise Refused(f"{ascii(self.x)[:128]} is no public key")


def keys_of(path: str) -> tuple[ReadKey, ...]:
    """Return the public keys of a keys_file; no private part is read, or repeated in an error."""
    try:
        with Path(path).open("rb") as file:
            listed = json.loads(unmarked(file.read(LARGEST_FILE)))["keys"]
        found = [key for key in listed if (key.get("kty"), key.get("crv")) == ("OKP", "Ed25519")]
        return tuple(ReadKey(str(key["kid"]), str(key["x"])) for key in found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise Refused(
            f"credentials.keys_file {ascii(path)[:256]} cannot be read as a set of keys"
        ) from cause
