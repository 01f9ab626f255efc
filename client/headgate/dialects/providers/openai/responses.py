"""Events of OpenAI's Responses API."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from headgate.dialects.contract import Dialect, Retrieval
from headgate.dialects.parts import (
    EXECUTED,
    FREE,
    FUNCTION,
    Done,
    ModelCall,
    ModelEnded,
    ModelFailed,
    Text,
    ToolInput,
    ToolOutput,
    Usage,
    known,
)
from headgate.dialects.progress import CANCELLED, DialectProgress, EventFields
from headgate.dialects.providers.openai.chat import count, error_object
from headgate.dialects.providers.openai.tools import CALLED_AT_ONCE, output, source, whole_call
from headgate.events import written
from headgate.json_values import decoded_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.dialects.parts import Part, ToolTraits
    from headgate.dialects.progress import Cursor, EarlyEnd

REASONS = {"max_output_tokens": "length", "content_filter": "content-filter"}


# The application's tools: where the end of a call has its input, and what is special about it.
FUNCTIONS = {"function_call": ("arguments", FUNCTION), "custom_tool_call": ("input", FREE)}


class _Call:
    """The call of a tool, whose beginning need not have been given."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._called: tuple[str, str] | None = None  # id and name
        self._has_input = False

    def begin(self, id_: str, name: str, text: str, traits: ToolTraits) -> list[Part]:
        """Return the call; `text` is the first of its input."""
        self._called = (id_, name)
        return [ToolInput(self._part, id_, name, text, traits)]

    def extend(self, text: str, traits: ToolTraits = FUNCTION) -> list[Part]:
        """Return more of the input of a call that has begun."""
        if self._called is None:
            return []
        self._has_input = True
        return [ToolInput(self._part, *self._called, text, traits)]

    def end_code(self) -> list[Part]:
        """Return the end of an input whose text is code, and of its call."""
        ended = self.extend('"}', EXECUTED)
        return [*ended, Done(self._part)] if ended else []

    def end(self, item: dict[str, Any]) -> list[Part]:
        """Return the end of a call of the application's, from its whole item."""
        # Some services send the input with the end alone.
        field, traits = FUNCTIONS[item["type"]]
        call = (item["call_id"], item["name"])
        missing = [] if self._has_input else [ToolInput(self._part, *call, item[field], traits)]
        more = known(namespace=item.get("namespace"))
        return [*missing, Done(self._part, {"openai": {"itemId": item.get("id"), **more}})]


class _Reasoning:
    """The reasoning of an item: the parts of its summary, or its text as the first of them."""

    def __init__(self, part: str, about: dict[str, Any]) -> None:
        self._part = part
        self._about = about
        self._encrypted: str | None = None  # as the provider keeps it
        self._open: dict[int, str] = {}  # parts by their index

    def begin(self, encrypted: str | None) -> list[Part]:
        """Return the first part, which begins with its item."""
        self._encrypted = encrypted
        return [self._begun(0)]

    def begin_next(self, index: int) -> list[Part]:
        """Return the ends of the parts before, and the beginning of the part `index`."""
        if index == 0:
            return []  # it has begun with its item
        ended: list[Part] = [Done(part, {"openai": self._about}) for part in self._open.values()]
        self._open.clear()
        return [*ended, self._begun(index)]

    def extend(self, index: int, text: str) -> list[Part]:
        """Return more of a part of the summary."""
        return [Text(self._opened(index), text, "reasoning", {"openai": self._about})]

    def extend_text(self, text: str) -> list[Part]:
        """Return more of the reasoning itself."""
        return [Text(self._opened(0), text, "reasoning")]

    def end(self, encrypted: str | None) -> list[Part]:
        """Return the ends of all parts that are open."""
        return [Done(part, self._sealed(encrypted)) for part in self._open.values()]

    def _begun(self, index: int) -> Text:
        part = self._open[index] = f"{self._part}/{index}"
        return Text(part, "", "reasoning", self._sealed(self._encrypted))

    def _opened(self, index: int) -> str:
        return self._open.setdefault(index, f"{self._part}/{index}")

    def _sealed(self, encrypted: str | None) -> dict[str, Any]:
        return {"openai": {**self._about, "reasoningEncryptedContent": encrypted}}


class _Item:
    """An item of the output that has begun."""

    def __init__(self, part: str, id_: str | None) -> None:
        self.part = part
        # Metadata: what else the next request needs is added.
        self.about: dict[str, Any] = {"itemId": id_}
        self.annotations: list[Any] = []
        self.call = _Call(part)
        self.reasoning = _Reasoning(part, self.about)


class ResponsesReader:
    """`client.responses.create(stream=True)`."""

    def __init__(self) -> None:
        self._response = 0  # a run may ask the model several times
        self._items: dict[int, _Item] = {}
        self._has_call = self._has_refusal = False
        read: dict[str, Callable[[dict[str, Any]], list[Part]]] = {
            "created": self._created,
            "output_item.added": self._added,
            "output_item.done": self._finished,
            "output_text.delta": self._text_parts,
            "refusal.delta": self._refused,
            "reasoning_text.delta": lambda event: self._item(event).reasoning.extend_text(
                event["delta"]
            ),
            "reasoning_summary_part.added": lambda event: self._item(event).reasoning.begin_next(
                event["summary_index"]
            ),
            "reasoning_summary_text.delta": lambda event: self._item(event).reasoning.extend(
                event["summary_index"], event["delta"]
            ),
            "output_text.annotation.added": self._annotated,
            "function_call_arguments.delta": self._input,
            "custom_tool_call_input.delta": self._input,
            "code_interpreter_call_code.delta": lambda event: self._item(event).call.extend(
                json.dumps(event["delta"])[1:-1], EXECUTED
            ),
            "code_interpreter_call_code.done": lambda event: self._item(event).call.end_code(),
            "image_generation_call.partial_image": self._image,
            "completed": self._ended,
            "incomplete": self._ended,
            "failed": self._failed,
        }
        self._read = {f"response.{type_}": method for type_, method in read.items()}

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether an event is of this API: its type is `response.…`, or a numbered error."""
        type_ = str(event.get("type"))
        return type_.startswith("response.") or (type_ == "error" and "sequence_number" in event)

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return text, refusals, reasoning, sources, calls of tools, results of OpenAI's tools."""
        if event["type"] == "error":
            raise ModelFailed(event)
        read = self._read.get(event["type"])
        return [] if read is None else read(event)

    def _created(self, event: dict[str, Any]) -> list[Part]:  # noqa: ARG002 - nothing is said yet
        self._response += 1
        self._items.clear()
        self._has_call = self._has_refusal = False
        return [ModelCall()]

    def _item(self, event: dict[str, Any]) -> _Item:
        """Return the item that an event is about; its first event need not have been given."""
        index = event.get("output_index", 0)
        if index not in self._items:
            id_ = (event.get("item") or {}).get("id") or event.get("item_id")
            self._items[index] = _Item(f"{self._response}/{index}", id_)
        return self._items[index]

    def _added(self, event: dict[str, Any]) -> list[Part]:
        item, raw = self._item(event), event["item"]
        type_ = raw["type"]
        if type_ == "message":
            if raw.get("phase") is not None:
                item.about["phase"] = raw["phase"]
            return [Text(item.part, "", metadata={"openai": item.about})]
        if type_ == "reasoning":
            return item.reasoning.begin(raw.get("encrypted_content"))
        if type_ in FUNCTIONS:
            return item.call.begin(raw["call_id"], raw["name"], "", FUNCTIONS[type_][1])
        if type_ == "code_interpreter_call":
            first = f'{{"containerId":{json.dumps(raw["container_id"])},"code":"'
            return item.call.begin(raw["id"], "code_interpreter", first, EXECUTED)
        if type_ in CALLED_AT_ONCE:
            name = CALLED_AT_ONCE[type_]
            return [ToolInput(item.part, raw["id"], name, "", EXECUTED), Done(item.part)]
        return []

    def _finished(self, event: dict[str, Any]) -> list[Part]:
        item, raw = self._item(event), event["item"]
        self._items.pop(event.get("output_index", 0))
        type_ = raw["type"]
        if type_ in FUNCTIONS:
            self._has_call = True
            return item.call.end(raw)
        if type_ == "reasoning":
            return item.reasoning.end(raw.get("encrypted_content"))
        if type_ == "message":
            cited = {"annotations": item.annotations} if item.annotations else {}
            return [Done(item.part, {"openai": {**item.about, **cited}})]
        return [*whole_call(item.part, raw), *output(raw)]

    def _text_parts(self, event: dict[str, Any]) -> list[Part]:
        return [Text(self._item(event).part, event["delta"])]

    def _refused(self, event: dict[str, Any]) -> list[Part]:
        self._has_refusal = True
        return self._text_parts(event)

    def _annotated(self, event: dict[str, Any]) -> list[Part]:
        self._item(event).annotations.append(event["annotation"])
        return source(event["annotation"])

    def _input(self, event: dict[str, Any]) -> list[Part]:
        return self._item(event).call.extend(event["delta"])

    def _image(self, event: dict[str, Any]) -> list[Part]:
        image = {"result": event["partial_image_b64"]}
        return [ToolOutput(event["item_id"], image, traits=EXECUTED, is_preliminary=True)]

    def _ended(self, event: dict[str, Any]) -> list[Part]:
        response = event["response"]
        cause = (response.get("incomplete_details") or {}).get("reason")
        if cause in REASONS:
            reason = REASONS[cause]
        elif self._has_call:
            reason = "tool-calls"
        elif cause is not None:
            reason = "other"
        else:
            reason = "content-filter" if self._has_refusal else "stop"
        return [ModelEnded(reason, _usage(response.get("usage")))]

    def _failed(self, event: dict[str, Any]) -> list[Part]:
        raise ModelFailed(event["response"].get("error"))


def _usage(reported: dict[str, Any] | None) -> Usage | None:
    if reported is None:
        return None
    details = reported.get("input_tokens_details") or {}
    return Usage(
        input=reported["input_tokens"],
        output=reported["output_tokens"],
        cache_read=details.get("cached_tokens") or 0,
        cache_write=details.get("cache_write_tokens"),
        reasoning=(reported.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


LAST_TYPES = frozenset(
    {
        *("response.completed", "response.incomplete", "response.failed", "response.cancelled"),
        "error",
    }
)
_NUMBER = re.compile(r"[0-9]{1,12}")  # no answer has as many events


class _ResponseFields(EventFields):
    sequence_number: Any = None
    response: Any = None
    usage: Any = None


class ResponseProgress(DialectProgress):
    """The progress of a response: it ends with an event of one of the last types."""

    decoder = msgspec.json.Decoder(_ResponseFields)

    @override
    def _judge(self, event: _ResponseFields) -> None:
        if isinstance(event.sequence_number, int):
            self.cursor = event.sequence_number
        if isinstance(event.type, str):
            self._is_known |= event.type.startswith("response.")
            self._has_ended |= event.type in LAST_TYPES
        response = event.response if isinstance(event.response, dict) else {}
        if event.type == "response.cancelled":
            self.failure = self.failure or CANCELLED
        elif event.type == "response.failed":
            self._fail(EventFields(error=response.get("error")))
        count(response.get("usage") if response else event.usage, self.usage)


class ResponseRetrieval(Retrieval):
    """The way to a response by its id: `GET /v1/responses/ID?stream=true&starting_after=NUMBER`."""

    cursor_field = "starting_after"
    markers = (b'"response"', b'"error"')

    @override
    def id_in(self, event: object) -> str | None:
        match event:
            case {"response": {"id": str(found)}}:
                return found
            case _:
                return None

    @override
    def cursor_in(self, data: bytes) -> Cursor | None:
        found = decoded_json(data, ResponseProgress.decoder.decode)
        return found.sequence_number if isinstance(found.sequence_number, int) else None

    @override
    def parsed_cursor(self, text: str) -> Cursor:
        if _NUMBER.fullmatch(text) is None:
            raise ValueError("must be the sequence number of an event, once")
        return int(text)

    @override
    def object_after(self, before: dict[str, Any] | None, event: object) -> dict[str, Any] | None:
        match event:
            case {"response": dict(response)}:
                return response
            case {"type": "error", "code": code, "message": message}:
                return _ended_response(before, code, message)
            case {"type": "error", "error": {"code": code, "message": message}}:
                return _ended_response(before, code, message)
            case _:
                return before


def _ended_response(
    before: dict[str, Any] | None, code: object, message: object
) -> dict[str, Any] | None:
    if before is None:
        return None
    if code == CANCELLED.code:
        return {**before, "status": "cancelled"}
    return {**before, "status": "failed", "error": {"code": code, "message": message}}


def _failure_event(failure: EarlyEnd, number: int) -> bytes:
    event = {
        "type": "error",
        "code": failure.code,
        "message": failure.sentence,
        "param": None,
        "sequence_number": number,
        "error": error_object(failure),
    }
    return written(msgspec.json.encode(event), name=b"error")


RESPONSES = Dialect(
    ("/responses",),
    ResponsesReader,
    ResponseProgress,
    _failure_event,
    ResponseRetrieval(),
)
