"""Text in files that people write, whose editors may put a byte order mark before it."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MARK = codecs.BOM_UTF8
# UTF-32 comes first: its mark begins with that of UTF-16.
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def unmarked(data: bytes) -> bytes:
    """Return the bytes of a text without the byte order mark before it.

    Raises ValueError, in words that follow the name of the file, for the mark of another encoding
    than UTF-8.
    """
    other = next((name for mark, name in _OTHER_MARKS.items() if data.startswith(mark)), None)
    if other is not None:
        raise ValueError(f"is {other} text, as its byte order mark says: save it as UTF-8")
    return data.removeprefix(MARK)


def text_of(path: Path) -> str:
    """Return the text of a file without a byte order mark, and without blanks around it.

    Raises OSError, and ValueError in words that follow the name of the file.
    """
    try:
        return unmarked(path.read_bytes()).decode().strip()
    except UnicodeDecodeError as cause:
        raise ValueError("is not text") from cause
