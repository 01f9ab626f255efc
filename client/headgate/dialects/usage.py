"""The tokens of an answer, by the names that the providers have for their counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_INPUT = ("prompt_tokens", "input_tokens", "total_input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens", "total_output_tokens")
_CACHE_READ = ("cached_tokens", "cache_read", "cache_read_input_tokens", "total_cached_tokens")
_CACHE_WRITE = ("cache_write_tokens", "cache_creation", "cache_creation_input_tokens")
_REASONING = ("reasoning_tokens", "reasoning", "thinking_tokens", "total_thought_tokens")
# The counts beside the totals are in objects of these names, or with the totals.
_DETAILS = (
    *("prompt_tokens_details", "completion_tokens_details"),
    *("input_tokens_details", "output_tokens_details"),
    *("input_token_details", "output_token_details"),
)
# Counts that these providers do not include in their totals: Anthropic's cache, Gemini's thoughts.
_BESIDE_INPUT = ("cache_read_input_tokens", "cache_creation_input_tokens")
_BESIDE_OUTPUT = ("total_thought_tokens",)


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call of the model; None where the provider sends no such count."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None  # of `input`
    cache_write: int | None = None  # of `input`
    reasoning: int | None = None  # of `output`


class TokenUsage(msgspec.Struct):
    """The tokens that a provider counted for one answer; None while it has not said so."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    def update(self, counts: object) -> None:
        """Take later counts for the same answer; what is not a count changes nothing."""
        if isinstance(counts, dict):
            found, output = _first(counts, _INPUT), _total(counts, _OUTPUT, _BESIDE_OUTPUT)
            self.input_tokens = self.input_tokens if found is None else found
            self.output_tokens = self.output_tokens if output is None else output


def usage_of(counts: Mapping[str, object] | None) -> Usage | None:
    """Return the tokens in the counts of a provider; None if it has none."""
    if not counts:
        return None
    details = [group for name in _DETAILS if isinstance(group := counts.get(name), dict)]
    every = {name: count for group in (*details, counts) for name, count in group.items()}
    return Usage(
        _total(every, _INPUT, _BESIDE_INPUT),
        _total(every, _OUTPUT, _BESIDE_OUTPUT),
        _first(every, _CACHE_READ),
        _first(every, _CACHE_WRITE),
        _first(every, _REASONING),
    )


def _first(counts: Mapping[str, object], names: Iterable[str]) -> int | None:
    return next((found for name in names if isinstance(found := counts.get(name), int)), None)


def _total(counts: Mapping[str, object], names: Iterable[str], beside: Iterable[str]) -> int | None:
    """Return a total with what its provider counts beside it."""
    total = _first(counts, names)
    return None if total is None else total + sum(_first(counts, [name]) or 0 for name in beside)
