"""The parts of a request's body that decide how it is answered."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from headgate.json_values import NOT_JSON, decoded_json

from gateway.errors import BadRequest

MOST_MEMBERS = 1000  # providers know some fifty; each takes a microsecond
MOST_LEVELS = 900  # of arrays and objects; as many as Python has frames left are read, about 985
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NAMES = ("stream", "model", "background")


class BodyChoices(NamedTuple):
    """The choices of a body; one that is no JSON object has none, and the provider judges it.

    One with more than MOST_LEVELS, which `is_too_deep` to be read, has none either.
    """

    stream: bool = False
    model: str | None = None
    background: bool = False
    is_too_deep: bool = False


class _MemberName:
    """The name of a member, which differs from every other, so that equal ones are seen."""

    def __init__(self, text: str) -> None:
        self.text = text


def choices_in(body: bytes) -> BodyChoices:
    """Return what a body asks for, also if only lenient parsers take it.

    Raises BadRequest for over MOST_MEMBERS members, and where a name decides that is there twice:
    the provider may take another member of the two than Headgate.
    """
    text = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        members = decoded_json(text, _members)
    except NOT_JSON:
        try:
            members = decoded_json(_strict(text), _members)
        except RecursionError:
            return BodyChoices(is_too_deep=True)
        except NOT_JSON:
            return BodyChoices()
        if any(strict in members.get("model", b"") for _, strict in _LENIENT):
            del members["model"]  # it may be another one than was sent
    model = members.get("model", b"null")
    return BodyChoices(
        members.get("stream") == b"true",
        decoded_json(model, _text) if model[:1] == b'"' else None,
        members.get("background") == b"true",
    )


def _text(value: bytes) -> str:
    return msgspec.json.decode(value, type=str)


def _members(text: bytes) -> dict[str, bytes]:
    """Return the members that decide, as JSON. Raises NOT_JSON, BadRequest."""
    names: list[str] = []

    def name_of(_type: type, text: str) -> _MemberName:
        names.append(text)
        if len(names) > MOST_MEMBERS:
            raise BadRequest(f"the body has over {MOST_MEMBERS} members")
        return _MemberName(text)

    found = msgspec.json.decode(text, type=dict[_MemberName, msgspec.Raw], dec_hook=name_of)
    for name in _NAMES:
        if names.count(name) > 1:
            raise BadRequest(f"the body has the member {name} twice: send it once")
    return {name.text: bytes(value) for name, value in found.items() if name.text in _NAMES}


def _strict(text: bytes) -> bytes:
    """Return JSON without what only lenient parsers take: halves of surrogate pairs, NaN, Infinity.

    It is replaced in strings as well, but what replaces it makes none of the names.
    """
    for lenient, strict in _LENIENT:
        text = text.replace(lenient, strict)
    return text


# All surrogates, in pairs as well, are other characters, which are not ASCII.
_LENIENT = ((b"\\ud", b"\\u1"), (b"\\uD", b"\\u1"), (b"NaN", b"0e0"), (b"Infinity", b"0e0"))
