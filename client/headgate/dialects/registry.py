"""The dialects by the names of their providers, and by the paths of requests."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

from headgate.dialects import NAMES
from headgate.dialects.contract import Dialect

if TYPE_CHECKING:
    from headgate.dialects.contract import Provider

PLAIN = Dialect()  # of bodies that are stored as they are


@cache
def provider(name: str) -> Provider:
    """Return the family of providers with this name, one of NAMES."""
    found: Provider = importlib.import_module(f"headgate.dialects.providers.{name}").PROVIDER
    return found


@cache
def dialects() -> tuple[Dialect, ...]:
    """Return all dialects."""
    return tuple(dialect for name in NAMES for dialect in provider(name).dialects)


def dialect_at(path: str) -> Dialect:
    """Return the dialect of an answer to a request at `path`; PLAIN if it has none."""
    return next((it for it in dialects() if path.endswith(it.answer_ends)), PLAIN)
