"""A keys_file with new keys, which its owner alone may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.features.issued_tokens import new_keys, written

if TYPE_CHECKING:
    from pathlib import Path


def new_keys_file(folder: Path) -> str:
    """Write `keys.json` into a folder; return its path."""
    path = folder / "keys.json"
    path.write_bytes(written(new_keys()))
    path.chmod(0o600)
    return str(path)
