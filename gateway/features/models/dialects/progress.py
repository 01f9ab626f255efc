"""The progress of an answer, as its events tell it: its tokens, its end, and its last number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from gateway.features.decoded import decoded_json
from gateway.features.models.dialects.contract import EarlyEnd, TokenUsage
from gateway.features.models.sse_events import event_fields, is_cut_json
from gateway.protocol.bodies.json_text import NOT_JSON

if TYPE_CHECKING:
    from typing import Final

# The provider's own word for its failure, as far as it is one: a sentence may quote the request.
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class AnswerEvent(msgspec.Struct):
    """The fields of an event's data that any dialect judges; None for those that are missing."""

    type: Any = None
    sequence_number: Any = None
    choices: Any = None
    message: Any = None
    response: Any = None
    usage: Any = None
    error: Any = None
    code: Any = None


_events = msgspec.json.Decoder(AnswerEvent)


class AnswerProgress:
    """The progress of an answer whose events have no dialect: it ends with its body."""

    def __init__(self) -> None:
        self.usage = TokenUsage()
        self.failure: EarlyEnd | None = None  # that the provider has reported in an event
        self.next_number = 0  # the sequence number after that of the last event
        self._has_ended = False
        self._has_events = False
        self._is_known = False  # an event is of the dialect, or is broken
        self._is_refused = False

    def add(self, event: bytes) -> None:
        """Take the next whole event. A dialect's own kind of state reads its data."""

    @property
    def has_ended(self) -> bool:
        """True once the provider has sent the end of the answer, or a failure."""
        return self._has_ended or self.failure is not None

    @property
    def may_end(self) -> bool:
        """True if the answer is over when its body ends: it has its end, or no known dialect."""
        return True

    @property
    def is_refused(self) -> bool:
        """True if the first event is a failure: the provider has made nothing of an answer."""
        return self._is_refused


class DialectProgress(AnswerProgress):
    """The progress of an answer in a known dialect, whose events have data in JSON."""

    @override
    def add(self, event: bytes) -> None:
        name, data = event_fields(event)
        if data is None:
            return
        try:
            found = decoded_json(data, _events.decode)
        except NOT_JSON:
            self._is_known |= is_cut_json(data)
            found = AnswerEvent()
            self._judge_text(data)
        else:
            self._judge(found)
        if found.error or name == b"error" or found.type == "error":
            self._fail(found)
        self._is_refused = self._is_refused or (self.failure is not None and not self._has_events)
        self._has_events = True

    @property
    @override
    def may_end(self) -> bool:
        return self.has_ended or (self._has_events and not self._is_known)

    def _judge_text(self, data: bytes) -> None:
        """Take the data of an event that are not a JSON object."""

    def _judge(self, event: AnswerEvent) -> None:
        """Take the data of an event."""

    def _fail(self, event: AnswerEvent) -> None:
        """Note the failure that an event reports."""
        error = event.error if isinstance(event.error, dict) else {}
        words = (error.get("code"), error.get("type"), event.code)
        word = next((it for it in words if isinstance(it, str) and _CODE.fullmatch(it)), "an error")
        self._is_known = True
        if self.failure is None:
            self.failure = EarlyEnd("provider_error", f"the provider reported {word}")
