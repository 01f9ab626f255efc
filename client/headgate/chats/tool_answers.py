"""The page's results for tool calls: only calls that are open take one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from headgate.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class _Output(msgspec.Struct, omit_defaults=True):
    output: Any = UNSET


class _Failure(msgspec.Struct, rename="camel"):
    error_text: str


class _Decision(msgspec.Struct, omit_defaults=True):
    approved: bool
    reason: str | UnsetType = UNSET


class _Decided(msgspec.Struct):
    approval: _Decision


# By the state that the chat has of a call, the states in which a page may give it back.
ANSWERS: dict[str, dict[str, type[msgspec.Struct]]] = {
    "input-available": {"output-available": _Output, "output-error": _Failure},
    "approval-requested": {"approval-responded": _Decided},
}


def answered(
    parts: Iterable[Mapping[str, Any]], sent: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the parts of an answer, with what a page has said to its open calls of tools.

    BadRequest for what no page says.
    """
    sent_parts = {str(part.get("toolCallId")): part for part in sent}
    return [_answered_part(part, sent_parts.get(str(part.get("toolCallId")), {})) for part in parts]


def _answered_part(part: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a call with what a page has told of it."""
    type_of_answer = ANSWERS.get(str(part.get("state")), {}).get(str(sent.get("state")))
    if type_of_answer is None or part.get("providerExecuted"):
        return dict(part)
    try:
        fields: dict[str, Any] = msgspec.to_builtins(msgspec.convert(sent, type_of_answer))
    except msgspec.ValidationError as error:
        raise BadRequest(f"a call of a tool cannot be answered so: {error}") from error
    if "approval" in fields:
        fields["approval"] = {**part["approval"], **fields["approval"]}
    return {**part, **fields, "state": sent["state"]}
