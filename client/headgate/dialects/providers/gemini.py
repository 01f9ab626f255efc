"""Google's Interactions API of Gemini: steps of an interaction, or contents as it had them first.

Sources: https://ai.google.dev/gemini-api/docs/interactions/streaming and the types of google-genai.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from headgate.dialects.contract import (
    LONGEST_ID,
    Dialect,
    Provider,
    Reader,
    Retrieval,
)
from headgate.dialects.parts import (
    EXECUTED,
    FUNCTION,
    MCP,
    Done,
    ModelCall,
    ModelEnded,
    ModelFailed,
    Source,
    Text,
    ToolInput,
    ToolOutput,
    Usage,
    known,
)
from headgate.dialects.progress import CANCELLED, DialectProgress, EventFields
from headgate.events import written
from headgate.json_values import decoded_json

if TYPE_CHECKING:
    from headgate.dialects.parts import Part, ToolTraits
    from headgate.dialects.progress import Cursor, EarlyEnd

# The first names of the events are those before the API had steps.
BEGUN = {"interaction.start", "interaction.created"}
ENDED = {"interaction.complete", "interaction.completed"}
STARTS = {"content.start": "content", "step.start": "step"}  # where a step is in its event
DELTAS = {"content.delta", "step.delta"}
STOPS = {"content.stop", "step.stop"}
TYPES = {*BEGUN, *ENDED, *STARTS, *DELTAS, *STOPS, "interaction.status_update"}
REASONS = {
    "completed": "stop",
    "requires_action": "tool-calls",
    "incomplete": "length",
    "budget_exceeded": "length",
}
# The kind of a text by the type of its step, or of its delta where the step's start is missing.
KINDS = {"text": "text", "model_output": "text", "thought": "reasoning"}
KINDS |= {"thought_summary": "reasoning", "thought_signature": "reasoning"}
CALL, RESULT = "_call", "_result"  # how the types of tools' steps end


class InteractionReader(Reader):
    """`client.interactions.create(stream=True)`."""

    def __init__(self) -> None:
        self._interaction = 0  # a run may ask the model several times
        self._steps: dict[int, dict[str, Any]] = {}  # what is known of the open ones
        self._has_call = False

    @override
    def takes(self, event: dict[str, Any]) -> bool:
        type_ = event.get("event_type")
        return type_ in TYPES or (type_ == "error" and bool(event.get("error")))

    @override
    def parts(self, event: dict[str, Any]) -> list[Part]:
        type_ = event["event_type"]
        if type_ == "error":
            raise ModelFailed(event["error"])
        if type_ in BEGUN:
            self._interaction += 1
            self._steps.clear()
            self._has_call = False
            return [ModelCall()]
        if type_ in ENDED:
            return self._ended(event["interaction"])
        if type_ in STARTS:
            step = self._steps[event["index"]] = dict(event[STARTS[type_]])
            return self._started(self._part(event), step)
        if type_ in DELTAS:
            return self._delta(self._part(event), event["index"], event["delta"])
        return self._stopped(event) if type_ in STOPS else []

    def _part(self, event: dict[str, Any]) -> str:
        return f"{self._interaction}/{event['index']}"

    def _started(self, part: str, step: dict[str, Any]) -> list[Part]:
        type_ = step["type"]
        if type_ in KINDS:
            texts = [step, *(step.get("content") or ()), *(step.get("summary") or ())]
            text = "".join(it.get("text") or "" for it in texts)
            return [Text(part, text, KINDS[type_], _signed(step))]
        if type_ == "function_call" and step.get("id"):
            self._has_call = True
            return [ToolInput(part, step["id"], step["name"], "", FUNCTION, _signed(step))]
        return []

    def _delta(self, part: str, index: int, delta: dict[str, Any]) -> list[Part]:
        step, type_ = self._steps.setdefault(index, {"type": delta["type"]}), delta["type"]
        if type_ == "text":
            return [Text(part, delta.get("text") or ""), *_sources(delta)]
        if type_ == "text_annotation_delta":
            return [*_sources(delta)]
        if type_ == "thought_summary":
            return [Text(part, (delta.get("content") or {}).get("text") or "", "reasoning")]
        if type_ == "thought_signature":
            return [Text(part, "", "reasoning", _signed(delta))]
        if type_ == "arguments_delta":
            step["is_streamed"] = True
            return [ToolInput(part, step["id"], step["name"], delta.get("arguments") or "")]
        step.update(known(**delta))
        return []

    def _stopped(self, event: dict[str, Any]) -> list[Part]:
        step, part = self._steps.pop(event["index"], None), self._part(event)
        if step is None or not step["type"].endswith((CALL, RESULT)):
            return [Done(part)]
        type_ = step["type"]
        if type_.endswith(RESULT):
            return [_output(step)]
        self._has_call |= type_ == "function_call"
        name, traits = _tool(step)
        if step.get("is_streamed"):
            return [Done(part)]
        arguments = json.dumps(step.get("arguments") or {})
        return [ToolInput(part, step["id"], name, arguments, traits, _signed(step)), Done(part)]

    def _ended(self, interaction: dict[str, Any]) -> list[Part]:
        status = interaction.get("status")
        if status == "failed":
            raise ModelFailed(interaction.get("error"))
        reason = REASONS.get(str(status), "other")
        reason = "tool-calls" if self._has_call and reason == "stop" else reason
        return [ModelEnded(reason, _usage(interaction.get("usage")))]


def _signed(step: dict[str, Any]) -> dict[str, Any] | None:
    """Return the signature of a step, which the next request needs again."""
    signature = step.get("signature")
    return {"google": {"thoughtSignature": signature}} if signature else None


def _tool(step: dict[str, Any]) -> tuple[str, ToolTraits]:
    """Return the name of a tool that is called, and what is special about it."""
    if step["type"] == "function_call":
        return step["name"], FUNCTION
    if step["type"] == "mcp_server_tool_call":
        return f"mcp.{step['name']}", MCP
    return step["type"].removesuffix(CALL), EXECUTED


def _output(step: dict[str, Any]) -> ToolOutput:
    result = step.get("result")
    error = json.dumps(result) if step.get("is_error") else None
    traits = MCP if step["type"] == "mcp_server_tool_result" else EXECUTED
    return ToolOutput(step["call_id"], result if error is None else None, error, traits)


def _sources(delta: dict[str, Any]) -> list[Source]:
    """Return the pages that a text is annotated with, and the files."""
    found: list[Source] = []
    for cited in delta.get("annotations") or ():
        if cited.get("type") == "url_citation" and cited.get("url"):
            found.append(Source(cited.get("title"), cited["url"]))
        elif cited.get("type") == "file_citation":
            name = cited.get("file_name") or cited.get("source") or cited.get("document_uri")
            found.append(Source(name, file_name=name))
    return found


def _usage(reported: dict[str, Any] | None) -> Usage | None:
    """Return the tokens; of the output, the provider counts those of thoughts apart."""
    if reported is None:
        return None
    thoughts = reported.get("total_thought_tokens") or 0
    return Usage(
        input=reported.get("total_input_tokens"),
        output=(reported.get("total_output_tokens") or 0) + thoughts,
        cache_read=reported.get("total_cached_tokens"),
        reasoning=thoughts,
    )


class _InteractionFields(EventFields):
    event_type: Any = None
    event_id: Any = None
    interaction: Any = None


class InteractionProgress(DialectProgress):
    """The progress of an interaction: it ends with `interaction.completed`."""

    decoder = msgspec.json.Decoder(_InteractionFields)

    @override
    def _judge(self, event: _InteractionFields) -> None:
        if isinstance(event.event_id, str) and event.event_id:
            self.cursor = event.event_id
        if not isinstance(event.event_type, str):
            return
        self._is_known |= event.event_type in TYPES
        self._has_ended |= event.event_type in ENDED
        interaction = event.interaction if isinstance(event.interaction, dict) else {}
        counts = interaction.get("usage")
        if isinstance(counts, dict):
            # Thoughts are counted apart, and paid for as output.
            output, thoughts = counts.get("total_output_tokens"), counts.get("total_thought_tokens")
            if isinstance(output, int) and isinstance(thoughts, int):
                output += thoughts
            self.usage.update(counts.get("total_input_tokens"), output)
        if event.event_type in ENDED and interaction.get("status") == "cancelled":
            self.failure = self.failure or CANCELLED
        elif event.event_type in ENDED and interaction.get("status") == "failed":
            self._fail(EventFields(error=interaction.get("error")))


class InteractionRetrieval(Retrieval):
    """The way to an interaction: `GET /v1beta/interactions/ID?stream=true&last_event_id=EVENT`."""

    cursor_field = "last_event_id"
    markers = (b'"interaction',)

    @override
    def id_in(self, event: object) -> str | None:
        match event:
            case {"interaction": {"id": str(found)}} | {"interaction_id": str(found)}:
                return found
            case _:
                return None

    @override
    def cursor_in(self, data: bytes) -> Cursor | None:
        found = decoded_json(data, InteractionProgress.decoder.decode)
        return found.event_id or None if isinstance(found.event_id, str) else None

    @override
    def parsed_cursor(self, text: str) -> Cursor:
        if not 0 < len(text) <= LONGEST_ID or "\n" in text:
            raise ValueError("must be the event_id of an event, once")
        return text

    @override
    def object_after(self, before: dict[str, Any] | None, event: object) -> dict[str, Any] | None:
        return None  # the last event has it without what the model has said


def _failure_event(failure: EarlyEnd, _number: int) -> bytes:
    error = {"code": failure.code, "message": failure.sentence}
    return written(msgspec.json.encode({"event_type": "error", "error": error}), name=b"error")


INTERACTIONS = Dialect(
    ("/interactions",),
    InteractionReader,
    InteractionProgress,
    _failure_event,
    InteractionRetrieval(),
)
PROVIDER = Provider(("X-Goog-Api-Key",), (INTERACTIONS,))
