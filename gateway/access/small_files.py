"""Files of tokens and keys, which are small."""

from __future__ import annotations

LARGEST_FILE = 1 << 20  # 5,000 tokens, which take a tenth of a second to parse


def read_file(path: str) -> bytes:
    """All of a small file. Raises OSError, or ValueError for one that is too large."""
    with open(path, "rb") as file:  # noqa: PTH123 - Path raises on odd names
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{path} is larger than {LARGEST_FILE >> 20} MiB")
    return data
