"""The dialect of Anthropic's API: messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from gateway.models.dialects.contract import Dialect, bearer, data_objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

    from gateway.models.dialects.contract import EarlyEnd, TokenUsage

API_KEY = "X-Api-Key"


class AnthropicDialect(Dialect):
    """Messages."""

    name = "anthropic"
    answer_paths = frozenset({"/v1/messages"})

    @override
    def key_fields(self, key: str) -> Mapping[str, str]:
        return {API_KEY: key}

    @override
    def key_of(self, headers: MultiMapping[str]) -> str | None:
        return headers.get(API_KEY) or bearer(headers)

    @override
    def failure_event(self, path: str, failure: EarlyEnd) -> bytes:
        error = {"type": "api_error", "message": failure.sentence, "code": failure.code}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(
            {"type": "error", "error": error}
        )

    @override
    def is_last(self, path: str, event: bytes) -> bool:
        return event.startswith(b"event: message_stop\n")

    @override
    def add_usage(self, events: bytes, usage: TokenUsage) -> None:
        for event in data_objects(events, b'"usage"'):
            if not isinstance(event, dict):
                continue
            message = event.get("message")  # of message_start; message_delta has its own
            counts = (message if isinstance(message, dict) else event).get("usage")
            if isinstance(counts, dict):
                usage.update(counts.get("input_tokens"), counts.get("output_tokens"))
