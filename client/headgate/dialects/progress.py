"""The progress of an answer, as its events tell it: its tokens, its end, and its last cursor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
from typing_extensions import override

from headgate.events import parse
from headgate.json_values import NOT_JSON, decoded_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

# The names that the providers have for their counts.
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


# What names an event to its provider: the number of an event in its answer, or a word of its own.
Cursor: TypeAlias = int | str
# The provider's own word for its failure, as far as it is one: a sentence may quote the request.
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class EarlyEnd(NamedTuple):
    """The failure of an answer: a code for programs, and a sentence for people."""

    code: str
    sentence: str


CANCELLED = EarlyEnd("response_cancelled", "the response was cancelled")


class EventFields(msgspec.Struct):
    """The fields of events that have the progress in any dialect; None for those missing."""

    type: Any = None
    event_type: Any = None
    error: Any = None
    code: Any = None
    usage: Any = None
    choices: Any = None
    message: Any = None
    response: Any = None
    interaction: Any = None
    sequence_number: Any = None
    event_id: Any = None

    @property
    def cursor(self) -> Cursor | None:
        """The number or the word that names the event to its provider, or None."""
        if isinstance(self.sequence_number, int):
            return self.sequence_number
        return self.event_id or None if isinstance(self.event_id, str) else None


_decode = msgspec.json.Decoder(EventFields).decode


def cursor_in(data: bytes) -> Cursor | None:
    """Return the cursor of an event with these data, if it has one. Raises NOT_JSON."""
    return decoded_json(data, _decode).cursor


class AnswerProgress:
    """The progress of an answer whose events have no dialect: it ends with its body."""

    def __init__(self) -> None:
        self.usage = TokenUsage()
        self.failure: EarlyEnd | None = None  # that the provider has reported in an event
        self.cursor: Cursor | None = None  # of the last event that has one
        self.is_refused = False  # by the first event: the provider has made nothing of an answer
        self._has_ended = False
        self._has_events = False
        self._is_known = False  # an event is of the dialect, or is broken

    def add(self, event: bytes) -> None:
        """Take the next whole event. The progress of a dialect reads its data."""

    @property
    def next_number(self) -> int:
        """The sequence number after that of the last event; 0 if events have none."""
        return self.cursor + 1 if isinstance(self.cursor, int) else 0

    @property
    def has_ended(self) -> bool:
        """True once the provider has sent the end of the answer, or a failure."""
        return self._has_ended or self.failure is not None

    @property
    def may_end(self) -> bool:
        """True if the answer is over when its body ends: it has its end, or no known dialect."""
        return True


class DialectProgress(AnswerProgress):
    """The progress of an answer in a known dialect, whose events have data in JSON."""

    def __init__(self, prefixes: tuple[str, ...], last: frozenset[str], whole: str) -> None:
        """Know events by how their types begin; `whole` is the field with the answer's object."""
        super().__init__()
        self._prefixes, self._last, self._whole = prefixes, last, whole

    @override
    def add(self, event: bytes) -> None:
        sent = parse(event)
        if sent is None:
            return
        try:
            found = decoded_json(sent.data, _decode)
        except NOT_JSON:
            self._is_known |= is_cut_json(sent.data)
            found = EventFields()
            self._take_text(sent.data)
        else:
            self._take_fields(found)
        if found.error or sent.name == b"error" or found.type == "error":
            self._fail(found.error, found.code)
        self.is_refused = self.is_refused or (self.failure is not None and not self._has_events)
        self._has_events = True

    @property
    @override
    def may_end(self) -> bool:
        return self.has_ended or (self._has_events and not self._is_known)

    def _take_text(self, data: bytes) -> None:
        """Take the data of an event that are not a JSON object."""

    def _take_fields(self, event: EventFields) -> None:
        """Take the data of an event."""
        cursor, type_ = event.cursor, event.type or event.event_type
        if cursor is not None:
            self.cursor = cursor
        found = getattr(event, self._whole)
        whole = found if isinstance(found, dict) else {}
        if counts := whole.get("usage") if whole else event.usage:
            self.usage.update(counts)
        if isinstance(type_, str):
            self._is_known = self._is_known or type_.startswith(self._prefixes)
        if isinstance(type_, str) and type_ in self._last:
            self._has_ended = True
            how = {type_.rpartition(".")[2], str(whole.get("status"))}
            if "cancelled" in how:
                self.failure = self.failure or CANCELLED
            elif "failed" in how:
                self._fail(whole.get("error"))

    def _fail(self, reported: object, code: object = None) -> None:
        """Note the failure that an event reports."""
        error = reported if isinstance(reported, dict) else {}
        words = (error.get("code"), error.get("type"), code)
        word = next((it for it in words if isinstance(it, str) and _CODE.fullmatch(it)), "an error")
        self._is_known = True
        if self.failure is None and word == CANCELLED.code:  # as the gateway where a client did it
            self.failure = CANCELLED
        elif self.failure is None:
            self.failure = EarlyEnd("provider_error", f"the provider reported {word}")


def is_cut_json(data: bytes) -> bool:
    """Return whether the data of an event begin as JSON, or as `[DONE]`, and are not whole."""
    if not data.lstrip().startswith((b"{", b"[")) or data.strip() == b"[DONE]":
        return False
    try:
        decoded_json(data)
    except NOT_JSON:
        return True
    return False
