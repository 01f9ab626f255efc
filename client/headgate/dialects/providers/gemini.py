"""Google's Interactions API of Gemini.

Sources: https://ai.google.dev/gemini-api/docs/interactions/streaming and the types of google-genai.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from headgate.dialects.contract import LONGEST_ID, Dialect, Provider, Retrieval, TypedReader
from headgate.dialects.parts import (
    EXECUTED,
    FUNCTION,
    Done,
    ModelCall,
    ModelEnded,
    ModelFailed,
    Source,
    Text,
    ToolInput,
    ToolOutput,
    known,
    known_reason,
)
from headgate.dialects.progress import DialectProgress, usage_of

if TYPE_CHECKING:
    from headgate.dialects.parts import Part
    from headgate.dialects.progress import Cursor, EarlyEnd

PREFIXES = ("interaction.", "step.")  # how the types of its events begin
KINDS = {"model_output": "text", "thought": "reasoning"}  # of texts, by the type of their steps
CALL, RESULT = "_call", "_result"  # how the types of tools' steps end


class InteractionReader(TypedReader):
    """A reader of `client.interactions.create(stream=True)`."""

    type_field = "event_type"

    def __init__(self) -> None:
        self._interaction = 0  # a run may ask the model several times
        self._steps: dict[int, dict[str, Any]] = {}  # what is known of the open ones
        self.methods = {
            "interaction.created": self._created,
            "interaction.completed": self._ended,
            "step.start": self._started,
            "step.delta": self._delta,
            "step.stop": self._stopped,
        }

    @override
    def takes(self, event: dict[str, Any]) -> bool:
        type_ = str(event.get("event_type"))
        return type_.startswith(PREFIXES) or (type_ == "error" and bool(event.get("error")))

    def _created(self, event: dict[str, Any]) -> list[Part]:  # noqa: ARG002 - nothing is said yet
        self._interaction += 1
        self._steps.clear()
        return [ModelCall()]

    def _part(self, event: dict[str, Any]) -> str:
        return f"{self._interaction}/{event['index']}"

    def _started(self, event: dict[str, Any]) -> list[Part]:
        step = self._steps[event["index"]] = dict(event["step"])
        part, type_ = self._part(event), step["type"]
        if type_ in KINDS:
            texts = [step, *(step.get("content") or ()), *(step.get("summary") or ())]
            text = "".join(it.get("text") or "" for it in texts)
            return [Text(part, text, KINDS[type_], _signed(step))]
        if type_ == "function_call" and step.get("id"):
            return [ToolInput(part, step["id"], step["name"], "", FUNCTION, _signed(step))]
        return []

    def _delta(self, event: dict[str, Any]) -> list[Part]:
        part, delta = self._part(event), event["delta"]
        type_ = delta["type"]
        step = self._steps.setdefault(event["index"], {"type": type_})
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
        step, part = self._steps.pop(event["index"], None) or {}, self._part(event)
        type_ = str(step.get("type"))
        if type_.endswith(RESULT):
            result = step.get("result")
            error = json.dumps(result) if step.get("is_error") else None
            return [ToolOutput(step["call_id"], result, error, EXECUTED)]
        if not type_.endswith(CALL) or step.get("is_streamed"):
            return [Done(part)]
        name = step.get("name") or type_.removesuffix(CALL)
        traits = FUNCTION if type_ == "function_call" else EXECUTED
        arguments = json.dumps(step.get("arguments") or {})
        return [ToolInput(part, step["id"], name, arguments, traits, _signed(step)), Done(part)]

    def _ended(self, event: dict[str, Any]) -> list[Part]:
        interaction = event["interaction"]
        if interaction.get("status") == "failed":
            raise ModelFailed(interaction.get("error"))
        reason = known_reason(interaction.get("status"))
        return [ModelEnded(reason, usage_of(interaction.get("usage")))]


def _signed(step: dict[str, Any]) -> dict[str, Any] | None:
    """Return the signature of a step, which the next request needs again."""
    signature = step.get("signature")
    return {"google": {"thoughtSignature": signature}} if signature else None


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


def _parsed_cursor(text: str) -> Cursor:
    if not 0 < len(text) <= LONGEST_ID or "\n" in text:
        raise ValueError("must be the event_id of an event, once")
    return text


def _failure(failure: EarlyEnd, _number: int) -> dict[str, object]:
    return {"event_type": "error", "error": {"code": failure.code, "message": failure.sentence}}


INTERACTIONS = Dialect(
    ("/interactions",),
    InteractionReader,
    partial(DialectProgress, PREFIXES, frozenset({"interaction.completed"}), "interaction"),
    _failure,
    # The last event has the object without what the model has said.
    Retrieval("last_event_id", _parsed_cursor, "interaction", (b'"interaction',)),
)
PROVIDER = Provider(("X-Goog-Api-Key",), (INTERACTIONS,))
