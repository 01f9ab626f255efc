"""The progress of an answer, as its events tell it: its tokens, its end, and its last cursor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import msgspec
from typing_extensions import override

from headgate.events import parse
from headgate.json_values import NOT_JSON, decoded_json

if TYPE_CHECKING:
    from typing import Final

# What names an event to its provider: the number of an event in its answer, or a word of its own.
Cursor: TypeAlias = int | str
# The provider's own word for its failure, as far as it is one: a sentence may quote the request.
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class EarlyEnd(NamedTuple):
    """The failure of an answer: a code for programs, and a sentence for people."""

    code: str
    sentence: str


CANCELLED = EarlyEnd("response_cancelled", "the response was cancelled")


class TokenUsage(msgspec.Struct):
    """The tokens that a provider counted for one answer; None while it has not said so."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    def update(self, input_tokens: object, output_tokens: object) -> None:
        """Take later counts for the same answer; what is not a count changes nothing."""
        if isinstance(input_tokens, int):
            self.input_tokens = input_tokens
        if isinstance(output_tokens, int):
            self.output_tokens = output_tokens


class EventFields(msgspec.Struct):
    """The fields of an event's data that tell the progress; None for those that are missing."""

    type: Any = None
    error: Any = None
    code: Any = None


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
        """Take the next whole event. A dialect's own kind of progress reads its data."""

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

    decoder: ClassVar[msgspec.json.Decoder[Any]]  # of EventFields, or of more

    @override
    def add(self, event: bytes) -> None:
        sent = parse(event)
        if sent is None:
            return
        found: EventFields
        try:
            found = decoded_json(sent.data, self.decoder.decode)
        except NOT_JSON:
            self._is_known |= is_cut_json(sent.data)
            found = EventFields()
            self._judge_text(sent.data)
        else:
            self._judge(found)
        if found.error or sent.name == b"error" or found.type == "error":
            self._fail(found)
        self.is_refused = self.is_refused or (self.failure is not None and not self._has_events)
        self._has_events = True

    @property
    @override
    def may_end(self) -> bool:
        return self.has_ended or (self._has_events and not self._is_known)

    def _judge_text(self, data: bytes) -> None:
        """Take the data of an event that are not a JSON object."""

    def _judge(self, event: Any) -> None:  # noqa: ANN401 - what the decoder returns
        """Take the data of an event."""

    def _fail(self, event: EventFields) -> None:
        """Note the failure that an event reports."""
        error = event.error if isinstance(event.error, dict) else {}
        words = (error.get("code"), error.get("type"), event.code)
        word = next((it for it in words if isinstance(it, str) and _CODE.fullmatch(it)), "an error")
        self._is_known = True
        if self.failure is None:
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
