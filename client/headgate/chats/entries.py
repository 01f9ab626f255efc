"""The entries of a chat's stream: what was asked, and the messages that were the answers.

A question names the run that answers it. An answer is kept for who reads the chat: whoever finds
that a run has ended writes down the message that it has become, and no other reads the run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec

from headgate.errors import BadRequest, ProtocolError
from headgate.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

Message: TypeAlias = dict[str, Any]  # one of the AI SDK's UI messages
Trigger: TypeAlias = Literal["submit-message", "regenerate-message"]
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)


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


def trigger_of(value: object) -> Trigger:
    """Return why a page asks; BadRequest for what is no reason."""
    for trigger in TRIGGERS:
        if value == trigger:
            return trigger
    raise BadRequest("the trigger is 'submit-message' or 'regenerate-message'")


def checked(message: object) -> Message:
    """Return a UI message that a page may send; BadRequest for what is none."""
    if not isinstance(message, dict):
        raise BadRequest("a message is a JSON object with an id, a role and parts")
    if not (isinstance(message.get("id"), str) and message["id"]):
        raise BadRequest("a message has an id, which is a string and not empty")
    if message.get("role") not in ("user", "assistant"):
        raise BadRequest("a page sends messages of the role 'user' or 'assistant'")
    parts = message.get("parts")
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts
    ):
        raise BadRequest("a message has parts: a list of objects, each with a type")
    if any(part["type"] == "text" and not isinstance(part.get("text"), str) for part in parts):
        raise BadRequest("a part of the type text has a text")
    try:
        encode(message)
    except UnicodeEncodeError:
        place = _half_of_pair(message)
        raise BadRequest(f"there is half of a surrogate pair {place}") from None
    except RecursionError:
        raise BadRequest("the message is nested too deep") from None
    return message


def _half_of_pair(message: Message) -> str:
    """Return where half of a surrogate pair is in the message."""
    for text, place in _texts(message, "message"):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"in {place} at character {error.start + 1}"
    return ""


def _texts(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Yield each text of a JSON value with its place."""
    if isinstance(value, str):
        yield value, place
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, f"{place}[{number}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name, f"a name in {place}"
            yield from _texts(item, f"{place}.{name}")
