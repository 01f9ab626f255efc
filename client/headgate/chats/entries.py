"""The entries of a chat's stream, and the checks of the ids and messages that a page sends.

A question names the run that answers it. The first reader that finds the run ended writes down the
message that it has become, and no other reader of the chat reads the run again.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, UnsetType

from headgate.errors import BadRequest, ProtocolError
from headgate.names import not_text
from headgate.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Message: TypeAlias = dict[str, Any]  # one of the AI SDK's UI messages
Trigger: TypeAlias = Literal["submit-message", "regenerate-message"]

_CHAT = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SEPARATOR = "."  # in no id of a chat
LOG: Final = f"{_SEPARATOR}chat"
SHOWN_CHARACTERS = 80  # of a page's value in an error; enough to know it again
MOST_LEVELS = 63  # of a message: Headgate stores JSON of 64, and its entry is one


class Question(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="question"):
    """A message that a run answers."""

    run_id: str
    trigger: Trigger
    message: Message
    asked_at: float  # seconds since 1970

    @property
    def continued(self) -> Message | None:
        """The assistant's message that the run goes on with, if it does."""
        return self.message if self.message["role"] == "assistant" else None


class Answered(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="answer"):
    """The end of a run, with the message that it produced, if any."""

    run_id: str
    status: Status
    error: str | None = None
    message: Message | None = None


_decoder = msgspec.json.Decoder(list[Question | Answered])
encode = msgspec.json.Encoder().encode


def decoded(body: bytes) -> list[Question | Answered]:
    """Return the entries of a body; ProtocolError for those of another stream."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"this stream is not a chat: {error}") from error


def _cut(value: object) -> str:
    """Return the beginning of a page's value, as an error shows it."""
    return f"{value!r}"[:SHOWN_CHARACTERS]


def check_type(chat: object) -> None:
    """Raise TypeError for what is not a str."""
    if not isinstance(chat, str):
        raise not_text(chat, "the id of a chat is a str")


def check_chat(chat: str) -> str:
    """Return the id of a chat; TypeError or BadRequest for what is none."""
    check_type(chat)
    if not _CHAT.fullmatch(chat):
        raise BadRequest(
            f"the id of a chat is 1 to 128 letters, digits, '-' and '_' of ASCII, not {_cut(chat)}"
        )
    return chat


def new_run(chat_id: str) -> str:
    """Return the id of an answer of this chat, which nobody else has."""
    return f"{chat_id}{_SEPARATOR}{secrets.token_hex(8)}"


def chat_of(run_or_chat: str) -> str:
    """Return the chat that an id names, or whose answer it names; BadRequest for neither."""
    check_type(run_or_chat)
    chat, separator, token = run_or_chat.partition(_SEPARATOR)
    if separator and not re.fullmatch("[0-9a-f]{16}", token):
        raise BadRequest(f"{_cut(run_or_chat)} is the id of no chat, and of no answer of one")
    return check_chat(chat)


def is_run(run_or_chat: str) -> bool:
    """Return whether the id is that of an answer."""
    return _SEPARATOR in run_or_chat


def check_trigger(value: object) -> Trigger:
    """Return why a page asks; BadRequest for what is no reason."""
    for trigger in get_args(Trigger):
        if value == trigger:
            return trigger  # type: ignore[no-any-return]
    raise BadRequest(f"the trigger is 'submit-message' or 'regenerate-message', not {_cut(value)}")


def check_message(message: object) -> Message:
    """Return a UI message that a page may send; BadRequest for what is none."""
    if not isinstance(message, dict):
        raise BadRequest("a message is a JSON object with an id, a role and parts")
    if not (isinstance(message.get("id"), str) and message["id"]):
        raise BadRequest("a message has an id, which is a string and not empty")
    if message.get("role") not in ("user", "assistant"):
        role = _cut(message.get("role"))
        raise BadRequest(f"a page sends messages of the role 'user' or 'assistant', not {role}")
    parts = message.get("parts")
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts
    ):
        raise BadRequest("a message has parts: a list of objects, each with a type")
    if any(part["type"] == "text" and not isinstance(part.get("text"), str) for part in parts):
        raise BadRequest("a part of the type text has a text")
    if _is_deep(message):
        raise BadRequest(f"the message is nested more than {MOST_LEVELS} levels deep")
    try:
        encode(message)
    except UnicodeEncodeError:
        raise BadRequest("there is half of a surrogate pair in the message") from None
    return message


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


class _Decision(msgspec.Struct, omit_defaults=True):
    approved: bool
    reason: str | UnsetType = UNSET


# The fields with which a page answers a call of a tool, by the states of the call before and after.
_ANSWERS: dict[tuple[str, str], tuple[str, Any]] = {
    ("input-available", "output-available"): ("output", object),
    ("input-available", "output-error"): ("errorText", str),
    ("approval-requested", "approval-responded"): ("approval", _Decision),
}


def with_results(
    parts: Iterable[Mapping[str, Any]], sent: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the parts of an answer, with a page's answers to its open calls of tools.

    Nothing else of the page's parts is taken. BadRequest for an answer that no page gives.
    """
    sent_parts = {str(part.get("toolCallId")): part for part in sent}
    return [_with_result(part, sent_parts.get(str(part.get("toolCallId")), {})) for part in parts]


def _with_result(part: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    name, kind = _ANSWERS.get((str(part.get("state")), str(sent.get("state"))), ("", None))
    if kind is None or part.get("providerExecuted"):
        return dict(part)
    try:
        answer = msgspec.to_builtins(msgspec.convert(sent.get(name), kind))
    except msgspec.ValidationError as error:
        raise BadRequest(f"a call of a tool cannot be answered so: {name}: {error}") from error
    if name == "approval":
        answer = {**part["approval"], **answer}
    return {**part, name: answer, "state": sent["state"]}
