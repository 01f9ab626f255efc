"""Chunks of OpenAI's chat completions, which many other services send, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.runs.adapters.parts import Done, ModelCall, Text, ToolInput

if TYPE_CHECKING:
    from headgate.runs.adapters.parts import Part


SUBSTANCE = ("content", "refusal", "tool_calls")  # of a delta


class OpenAIChat:
    """`client.chat.completions.create(stream=True)`."""

    def __init__(self) -> None:
        # A tool call is named in its first piece only; the others tell its index.
        self._calls: dict[str, tuple[str, str]] = {}
        self._under_way: set[str] = set()
        self._ended = ""

    def takes(self, event: dict[str, Any]) -> bool:
        """Each chunk says what it is."""
        return event.get("object") == "chat.completion.chunk"

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Text and refusals, and calls of tools; what else a chunk holds is left out."""
        parts: list[Part] = []
        for choice in event.get("choices") or ():
            answer = f"{event.get('id')}/{choice.get('index', 0)}"
            delta = choice.get("delta") or {}
            if self._begins(answer, delta):
                parts.append(ModelCall())
            texts = [delta.get(key) for key in ("content", "refusal")]
            parts += [Text(f"{answer}/text", text) for text in texts if text]
            parts += [self._call(answer, call) for call in delta.get("tool_calls") or ()]
            if choice.get("finish_reason"):
                parts.append(Done(answer))
                self._under_way.discard(answer)
                self._ended = answer
        return parts

    def _begins(self, answer: str, delta: dict[str, Any]) -> bool:
        """Whether this is the first piece of an answer, of whose choices one tells of the call."""
        # Some servers send an empty piece behind the last one, and some give all answers one id.
        is_late = answer == self._ended and not any(delta.get(key) for key in SUBSTANCE)
        if answer in self._under_way or is_late or not answer.endswith("/0"):
            return False
        self._under_way.add(answer)
        return True

    def _call(self, answer: str, call: dict[str, Any]) -> ToolInput:
        part = f"{answer}/{call.get('index', 0)}"
        function = call.get("function") or {}
        if call.get("id"):
            self._calls[part] = (call["id"], function.get("name") or "")
        call_id, name = self._calls.get(part, (part, ""))
        return ToolInput(part, call_id, name, function.get("arguments") or "")
