"""The dialects that providers speak, each in a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.features.models.dialects.anthropic import AnthropicDialect
from gateway.features.models.dialects.openai import OpenAiDialect

if TYPE_CHECKING:
    from gateway.features.models.dialects.contract import Dialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (OpenAiDialect(), AnthropicDialect())
}


def dialect_of(path: str) -> Dialect:
    """Return the dialect of an answer to a request at `path`."""
    return next(it for it in DIALECTS.values() if path.endswith(it.answer_ends))
