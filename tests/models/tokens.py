"""Tokens of callers and of a reader of model routes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tests.models.serving import ANTHROPIC, OPENAI

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = {"caller": "token-of-the-caller", "other": "token-of-another", "reader": "of-a-reader"}


def guarded(folder: Path, *, has_key: bool) -> dict[str, object]:
    """Return the settings of routes for callers with tokens, with a provider's key in a file."""
    if not has_key:
        return {"auth": ["tokens"]}
    key = folder / "provider.key"
    key.write_text("sk-of-the-house\n")
    key.chmod(0o600)
    return {"auth": ["tokens"], "key_file": str(key)}


def tokens_file(folder: Path) -> dict[str, str]:
    """Write a file of tokens for callers and a reader; return the environment that names it."""
    path = folder / "tokens.toml"
    text = ""
    for name, token in TOKENS.items():
        digest = hashlib.sha256(token.encode()).hexdigest()
        operations = '["read"]' if name == "reader" else '["append", "read"]'
        grants = ", ".join(
            f'{{ streams = "{prefix}/*", operations = {operations} }}'
            for prefix in (OPENAI, ANTHROPIC)
        )
        text += f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{digest}"\ngrants = [{grants}]\n'
    path.write_text(text)
    return {"HEADGATE_CREDENTIALS__TOKENS_FILE": str(path)}
