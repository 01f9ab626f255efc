"""The dialect of OpenAI's API: chat completions and responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from gateway.models.dialects.contract import Dialect, bearer, data_objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

    from gateway.models.dialects.contract import EarlyEnd, TokenUsage

RESPONSES = "/v1/responses"
_LAST_OF_RESPONSE = tuple(
    b"event: response.%b\n" % kind for kind in (b"completed", b"failed", b"incomplete")
)


class OpenAiDialect(Dialect):
    """Chat completions, completions and responses; other servers speak it, too, such as vLLM."""

    name = "openai"
    answer_paths = frozenset({"/v1/chat/completions", "/v1/completions", RESPONSES})
    retrieved_path = RESPONSES

    @override
    def key_fields(self, key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"}

    @override
    def key_of(self, headers: MultiMapping[str]) -> str | None:
        return bearer(headers)

    @override
    def failure_event(self, path: str, failure: EarlyEnd) -> bytes:
        # The SDKs raise for an object with `error`, whatever the event is named.
        error = {
            "message": failure.sentence,
            "type": "server_error",
            "param": None,
            "code": failure.code,
        }
        if path != RESPONSES:
            return b"data: %b\n\n" % msgspec.json.encode({"error": error})
        event = {
            "type": "error",
            "code": failure.code,
            "message": failure.sentence,
            "param": None,
            "error": error,
        }
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(event)

    @override
    def is_last(self, path: str, event: bytes) -> bool:
        if path != RESPONSES:
            return event.strip().removeprefix(b"data:").strip() == b"[DONE]"
        return event.startswith(_LAST_OF_RESPONSE)

    @override
    def add_usage(self, events: bytes, usage: TokenUsage) -> None:
        for event in data_objects(events, b'"usage"'):
            if not isinstance(event, dict):
                continue
            response = event.get("response")
            counts = (response if isinstance(response, dict) else event).get("usage")
            if isinstance(counts, dict):
                usage.update(
                    counts.get("prompt_tokens", counts.get("input_tokens")),
                    counts.get("completion_tokens", counts.get("output_tokens")),
                )
