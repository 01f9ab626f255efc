"""The dialect of Anthropic's API: messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from gateway.features.models.dialects.contract import Dialect, bearer
from gateway.features.models.dialects.progress import DialectProgress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

    from gateway.features.models.dialects.contract import EarlyEnd
    from gateway.features.models.dialects.progress import AnswerEvent, AnswerProgress

API_KEY = "X-Api-Key"
_KNOWN = ("message_", "content_block_", "ping", "error")  # how the types of its events begin


class AnthropicDialect(Dialect):
    """Messages."""

    name = "anthropic"
    answer_ends = ("/v1/messages",)

    @override
    def key_fields(self, key: str) -> Mapping[str, str]:
        return {API_KEY: key}

    @override
    def key_of(self, headers: MultiMapping[str]) -> str | None:
        return headers.get(API_KEY) or bearer(headers)

    @override
    def failure_event(self, path: str, failure: EarlyEnd, number: int) -> bytes:
        error = {"type": "api_error", "message": failure.sentence, "code": failure.code}
        event = {"type": "error", "error": error, "request_id": None}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(event)

    @override
    def state_of(self, path: str) -> AnswerProgress:
        return MessageProgress()


class MessageProgress(DialectProgress):
    """The progress of a message: it ends with `message_stop`."""

    @override
    def _judge(self, event: AnswerEvent) -> None:
        if isinstance(event.type, str):
            self._is_known |= event.type.startswith(_KNOWN)
            self._has_ended |= event.type == "message_stop"
        # That of message_start is in its message; message_delta has its own.
        counts = event.message.get("usage") if isinstance(event.message, dict) else event.usage
        if isinstance(counts, dict):
            self.usage.update(counts.get("input_tokens"), counts.get("output_tokens"))
