"""The calls of tools in a message that is made of the chunks of a UI message stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headgate.runs.partial_json import NOTHING, partial_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Part = dict[str, Any]

STEP: Final = "step-start"
DYNAMIC: Final = "dynamic-tool"
# What the next chunk of a call replaces, whether it has them or not.
OF_ONE_STATE = ("input", "output", "errorText", "rawInput", "inputEncoding", "preliminary")
OUTPUT_STATES = {"output-available", "output-error"}
# Of a call, for all of its states.
LASTING = ("toolMetadata", "providerExecuted")
# What a call has of its beginning while its input comes.
OF_BEGINNING = ("toolCallId", "toolName", "dynamic", "title", "toolMetadata", "inputEncoding")


class ToolCalls:
    """The calls among the `parts` of a message; a chunk about none of them adds nothing."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._inputs: dict[str, tuple[Part, Part, list[str]]] = {}  # and what began each of them
        self.actions: dict[str, Callable[[Mapping[str, Any]], object]] = {
            "tool-input-start": lambda chunk: self._call(chunk, "input-streaming"),
            "tool-input-delta": self._extend_input,
            "tool-input-available": lambda chunk: self._call(chunk, "input-available"),
            "tool-input-error": lambda chunk: self._call(chunk, "output-error"),
            "tool-approval-request": self._request_approval,
            "tool-approval-response": self._respond,
            "tool-output-available": lambda chunk: self._answer(chunk, "output-available"),
            "tool-output-error": lambda chunk: self._answer(chunk, "output-error"),
            "tool-output-denied": self._deny,
        }

    def set_inputs(self) -> None:
        """Tell in each call what has come of its input."""
        for id_ in self._inputs:
            self._set_input(id_)

    def forget_inputs(self) -> None:
        """Take no more of the inputs that have begun."""
        self._inputs.clear()

    def _extend_input(self, chunk: Mapping[str, Any]) -> None:
        open_input = self._inputs.get(chunk["toolCallId"])
        if open_input is None:
            return
        part, beginning, pieces = open_input
        if part["state"] != "input-streaming" or not self._is_in_step(part):
            self._set_input(chunk["toolCallId"])
            part = self._call({**beginning, "type": "tool-input-delta"}, "input-streaming")
            self._inputs[chunk["toolCallId"]] = part, beginning, pieces
        pieces.append(chunk["inputTextDelta"])

    def _set_input(self, id_: str) -> None:
        """Tell in a call what has come of its input."""
        part, _, pieces = self._inputs.get(id_, ({}, {}, []))
        if pieces and part["state"] == "input-streaming":
            text = "".join(pieces)
            value = text if part.get("inputEncoding") == "text" else partial_value(text)
            part.update({"rawInput": text} | ({} if value is NOTHING else {"input": value}))

    def _is_in_step(self, call: Part) -> bool:
        """Return whether a call is in the step under way: nearly always it is the newest part."""
        return self._parts[-1] is call or any(part is call for part in step_under_way(self._parts))

    def _call(self, chunk: Mapping[str, Any], state: str) -> Part:
        """Begin a call in this step, or go on with it."""
        id_ = chunk["toolCallId"]
        is_dynamic = bool(chunk.get("dynamic"))
        same = [part for part in step_under_way(self._parts) if part.get("toolCallId") == id_]
        if chunk["type"] == "tool-input-error":
            is_dynamic = same[0]["type"] == DYNAMIC if same else is_dynamic
        same = [part for part in same if (part["type"] == DYNAMIC) == is_dynamic]
        if not same:
            same = [{"type": DYNAMIC if is_dynamic else "", "toolCallId": id_}]
            self._parts += same
        if chunk["type"] == "tool-input-start":
            self._set_input(id_)
            self._inputs[id_] = same[0], known(chunk, *OF_BEGINNING), []
        if is_dynamic:
            same[0]["toolName"] = chunk["toolName"]
        else:
            same[0]["type"] = f"tool-{chunk['toolName']}"
        has_raw_input = chunk["type"] == "tool-input-error" and not is_dynamic
        inputs = {"rawInput": chunk["input"]} if has_raw_input else known(chunk, "input")
        _set_state(same[0], state, {**inputs, **known(chunk, "errorText", "inputEncoding")}, chunk)
        if chunk["type"] != "tool-input-error":
            same[0].update(known(chunk, "title"))
        return same[0]

    def _answer(self, chunk: Mapping[str, Any], state: str) -> None:
        """Give a call its output, in whatever step it is."""
        part = self._called(chunk)
        if part is None:
            return
        names = ["input"]
        if state == "output-error" and part["type"] != DYNAMIC:
            names.append("rawInput")
        output = known(chunk, "output", "errorText", "preliminary")
        _set_state(part, state, {**known(part, *names), **output}, chunk)

    def _deny(self, chunk: Mapping[str, Any]) -> None:
        part = self._called(chunk)
        if part is not None:
            part["state"] = "output-denied"

    def _request_approval(self, chunk: Mapping[str, Any]) -> None:
        part = self._called(chunk)
        if part is None:
            return
        part["state"] = "approval-requested"
        part["approval"] = {"id": chunk["approvalId"], **known(chunk, "signature")}
        part["approval"].update(known(chunk, "inputSchemaInput"))
        if chunk.get("approvalDescriptor") is not None:
            part["approval"]["descriptor"] = chunk["approvalDescriptor"]

    def _respond(self, chunk: Mapping[str, Any]) -> None:
        for part in self._newest_first():
            if part.get("approval", {}).get("id") == chunk["approvalId"]:
                part["state"] = "approval-responded"
                part["approval"] = {**part["approval"], **known(chunk, "approved", "reason")}
                part.update(known(chunk, "providerExecuted"))
                if "providerMetadata" in chunk:
                    part["callProviderMetadata"] = chunk["providerMetadata"]
                return

    def _newest_first(self) -> Iterator[Part]:
        return (part for part in reversed(self._parts) if "toolCallId" in part)

    def _called(self, chunk: Mapping[str, Any]) -> Part | None:
        """Return the call that a chunk is about: the first of this step, else the last of all."""
        step = (part for part in step_under_way(self._parts) if "toolCallId" in part)
        for part in (*step, *self._newest_first()):
            if part["toolCallId"] == chunk["toolCallId"]:
                return part
        return None


def step_under_way(parts: list[Part]) -> list[Part]:
    """Return the parts of the step under way."""
    start = len(parts)
    while start and parts[start - 1]["type"] != STEP:
        start -= 1
    return parts[start:]


def _set_state(
    part: Part, state: str, of_state: Mapping[str, Any], chunk: Mapping[str, Any]
) -> None:
    for name in OF_ONE_STATE:
        part.pop(name, None)
    part.update(of_state, state=state)
    part.update(known(chunk, *LASTING))
    if "providerMetadata" in chunk:
        of = "result" if state in OUTPUT_STATES else "call"
        part[f"{of}ProviderMetadata"] = chunk["providerMetadata"]


def known(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the fields of these names that are there; JSON has no undefined ones."""
    return {name: fields[name] for name in names if name in fields}
