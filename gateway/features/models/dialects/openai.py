"""The dialect of OpenAI's API: chat completions and responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from gateway.features.models.dialects.contract import Dialect, bearer
from gateway.features.models.dialects.progress import AnswerEvent, DialectProgress
from gateway.features.models.dialects.responses import CANCELLED, LAST_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

    from gateway.features.models.dialects.contract import EarlyEnd, TokenUsage
    from gateway.features.models.dialects.progress import AnswerProgress

RESPONSES = "/responses"
AZURE_KEY = "Api-Key"
# Choices of a chat completion whose ends are judged: OpenAI makes up to 128.
MOST_CHOICES = 128


class OpenAiDialect(Dialect):
    """Chat completions, completions and responses; other servers speak it, too, such as vLLM."""

    name = "openai"
    answer_ends = ("/chat/completions", "/completions", RESPONSES)
    retrieved_end = RESPONSES

    @override
    def key_fields(self, key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"}

    @override
    def key_of(self, headers: MultiMapping[str]) -> str | None:
        return bearer(headers) or headers.get(AZURE_KEY)

    @override
    def failure_event(self, path: str, failure: EarlyEnd, number: int) -> bytes:
        # The SDKs raise for an object with `error`, whatever the event is named.
        error = {
            "message": failure.sentence,
            "type": "server_error",
            "param": None,
            "code": failure.code,
        }
        if not path.endswith(RESPONSES):
            return b"data: %b\n\n" % msgspec.json.encode({"error": error})
        event = {
            "type": "error",
            "code": failure.code,
            "message": failure.sentence,
            "param": None,
            "sequence_number": number,
            "error": error,
        }
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(event)

    @override
    def state_of(self, path: str) -> AnswerProgress:
        return ResponseProgress() if self.is_retrieved(path) else ChatProgress()


class ChatProgress(DialectProgress):
    """The progress of a chat completion: it ends with `[DONE]`, or a reason for each choice."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: set[int] = set()  # choices
        self._finished: set[int] = set()
        self._is_done = False

    @override
    def _judge_text(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self._is_known = self._is_done = self._has_ended = True

    @override
    def _judge(self, event: AnswerEvent) -> None:
        if isinstance(event.choices, list):
            self._is_known = True
            for choice in event.choices:
                if isinstance(choice, dict):
                    self._take(choice)
            self._has_ended = self._is_done or self._begun == self._finished != set()
        _count(event.usage, self.usage)

    def _take(self, choice: dict[str, object]) -> None:
        index = choice.get("index")
        number = index if isinstance(index, int) and 0 <= index < MOST_CHOICES else 0
        self._begun.add(number)
        if choice.get("finish_reason"):
            self._finished.add(number)


class ResponseProgress(DialectProgress):
    """The progress of a response: it ends with an event of one of the last types."""

    @override
    def _judge(self, event: AnswerEvent) -> None:
        if isinstance(event.sequence_number, int):
            self.next_number = event.sequence_number + 1
        if isinstance(event.type, str):
            self._is_known |= event.type.startswith("response.")
            self._has_ended |= event.type in LAST_TYPES
        response = event.response if isinstance(event.response, dict) else {}
        if event.type == "response.cancelled":
            self.failure = self.failure or CANCELLED
        elif event.type == "response.failed":
            self._fail(AnswerEvent(error=response.get("error")))
        _count(response.get("usage") if response else event.usage, self.usage)


def _count(counts: object, usage: TokenUsage) -> None:
    """Take the provider's counts, by the names of either API."""
    if isinstance(counts, dict):
        usage.update(
            counts.get("prompt_tokens", counts.get("input_tokens")),
            counts.get("completion_tokens", counts.get("output_tokens")),
        )
