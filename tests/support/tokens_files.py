"""A tokens_file of clients by their names, which can be written again without one of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SOON = "2027-01-15T08:01:00Z"  # a minute after the clock of `serving` begins; then "brief" ends


def token(name: str) -> str:
    """Return the token of a name."""
    return f"{name}-0123456789abcdef"


def static_token(
    name: str, token: str, *streams: str, operations: str = '["read"]', more: str = ""
) -> str:
    """Return the entry of a token that permits these operations on each pattern of streams."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    grants = ", ".join(f'{{ streams = "{it}", operations = {operations} }}' for it in streams)
    return f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{digest}"\ngrants = [{grants}]\n{more}'


def write_tokens(
    folder: Path, grants: Mapping[str, Sequence[tuple[str, str]]], *, without: str, prefix: str
) -> str:
    """Write who may do what below a prefix; `without` a name it is as if it was never there."""
    entries = []
    for name, granted in grants.items():
        texts = [
            f'{{ streams = "{prefix}/{streams}", operations = {operations.split()} }}'
            for streams, operations in granted
        ]
        digest = hashlib.sha256(token(name).encode()).hexdigest()
        expires = f"expires = {SOON}\n" if name == "brief" else ""
        if name != without:
            entries.append(
                f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{digest}"\n'
                f"grants = [{', '.join(texts)}]\n{expires}"
            )
    path, new = folder / "tokens.toml", folder / "tokens.new"
    new.write_text("\n".join(entries))
    new.replace(path)
    return str(path)
