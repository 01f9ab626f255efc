"""Static tokens, and the SHA-256 that a file may have in place of one."""

from __future__ import annotations

import re
from hashlib import sha256

# 32 characters by hand or 16 random bytes in base64; a shorter one could be guessed.
SHORTEST_TOKEN = 22
LONGEST_TOKEN = 1024
DIGEST = "sha256:"  # stands before the hexadecimal digits
_TOKEN = re.compile(rf"[!-~]{{{SHORTEST_TOKEN},{LONGEST_TOKEN}}}")
_DIGEST = re.compile(rf"{DIGEST}([0-9a-f]{{64}})")


def is_token(text: str) -> bool:
    """Return whether a text is a valid static token: 22 to 1,024 visible ASCII characters."""
    return _TOKEN.fullmatch(text) is not None


def token_digest(token: str) -> bytes:
    """Return the SHA-256 of a token, also of one that is not valid UTF-8.

    Tokens are looked up by it, so that the time of a lookup reveals nothing about them.
    """
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def read_digest(text: str) -> bytes | None:
    """Parse a SHA-256 written as `sha256:` and 64 digits; None for any other text."""
    match = _DIGEST.fullmatch(text)
    return None if match is None else bytes.fromhex(match[1])


def written_digest(digest: bytes) -> str:
    """Return a SHA-256 in the form that `read_digest` parses."""
    return f"{DIGEST}{digest.hex()}"
