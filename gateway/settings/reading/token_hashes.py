"""Static tokens, and the SHA-256 by which a file can know one without having it."""

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
    """Whether a text can be a static token: visible ASCII characters, as many as it takes."""
    return _TOKEN.fullmatch(text) is not None


def token_digest(token: str) -> bytes:
    """The SHA-256 of a token, whatever bytes a client has sent as one.

    Tokens are looked up by it, so that how long that takes tells nothing of them.
    """
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def read_digest(text: str) -> bytes | None:
    """The SHA-256 that is written as `sha256:` and 64 digits; None of any other text."""
    match = _DIGEST.fullmatch(text)
    return None if match is None else bytes.fromhex(match[1])


def written_digest(digest: bytes) -> str:
    """A SHA-256 as `read_digest` takes it."""
    return f"{DIGEST}{digest.hex()}"
