"""Text of a server, made harmless for a terminal."""

from __future__ import annotations

import re

# The C0 and C1 controls but tab and line end, which move the cursor or run what a terminal can do,
# DEL, what turns the direction of text around, and halves of surrogate pairs, which stand for bytes
# that are no UTF-8.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def safe(text: str) -> str:
    """Return text in which nothing acts on a terminal: ESC is printed as `\u001b`.

    JSON with such escapes in its strings is the same JSON.
    """
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
