"""The names that a request gives its answer: a key, a stream, and the last event that came."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import BadRequest
from gateway.features.models.provider.body_choices import MOST_LEVELS
from gateway.protocol.http.header_names import IDEMPOTENCY_KEY, KEY_PREFIX_FIELD, STREAM_FIELD
from gateway.protocol.http.paths import taken_out
from gateway.protocol.streams.offsets import parse_offset

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.features.models.provider.body_choices import BodyChoices
    from gateway.features.models.provider.contract import AnswerRequest

LAST_EVENT_ID = "Last-Event-ID"
LONGEST_KEY = 256  # characters of a key or its prefix; the UUIDs of SDKs have 36
_KEY_FIELDS = (IDEMPOTENCY_KEY, KEY_PREFIX_FIELD)
_STREAM_PART = f"{STREAM_FIELD.lower()}="  # of a query
_STREAM_NAME = re.compile(r"(?!(?:record|prompts)$)[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")


def named_stream(headers: MultiMapping[str], target: str) -> tuple[str | None, str]:
    """Return the name that a request gives its stream, and the target without it.

    Raises BadRequest.
    """
    parts, rest = taken_out(target, lambda part: part.startswith(_STREAM_PART))
    names = {part.removeprefix(_STREAM_PART) for part in parts}
    names.update(headers.getall(STREAM_FIELD, ()))
    if len(names) > 1 or any(_STREAM_NAME.fullmatch(name) is None for name in names):
        raise BadRequest(
            f"{STREAM_FIELD} must be one name of up to 128 letters, digits, '-', '.', '_' and '~', "
            "which begins with a letter or a digit and is neither 'record' nor 'prompts'"
        )
    return (names.pop() if names else None), rest


def with_key(asked: AnswerRequest, headers: MultiMapping[str]) -> AnswerRequest:
    """Return a request with its Idempotency-Key, or one of its prefix and what it asks for.

    No field has a line end, so no key that a client sends is equal to one that is made here.
    Raises BadRequest.
    """
    key, prefix = (_key(headers, field) for field in _KEY_FIELDS)
    if prefix and (key or not asked.owner):
        raise BadRequest(
            f"{KEY_PREFIX_FIELD} makes the key of each request: send it without {IDEMPOTENCY_KEY}, "
            "and with a token, or with the provider's key of a caller"
        )
    return asked._replace(idempotency_key=f"{prefix}\n{asked.body.digest}" if prefix else key)


def check_depth(wanted: BodyChoices, stream: str | None, headers: MultiMapping[str]) -> None:
    """Raise BadRequest if a request names its answer, and its body cannot be read for its depth.

    Without a name the provider judges it.
    """
    if not wanted.is_too_deep:
        return
    names = {STREAM_FIELD: stream, **{field: _key(headers, field) for field in _KEY_FIELDS}}
    given = next((field for field, name in names.items() if name), None)
    if given is not None:
        raise BadRequest(
            f"the body is nested over {MOST_LEVELS} levels deep, so Headgate cannot read what it "
            f"asks for: nest it less, or send it without {given}, and it is passed on, not stored"
        )


def last_event_id(headers: MultiMapping[str]) -> str | None:
    """Return the id of the last event that a client has, if it sends one. Raises BadRequest."""
    last = headers.get(LAST_EVENT_ID)
    if last:
        parse_offset(last, LAST_EVENT_ID)
    return last or None


def _key(headers: MultiMapping[str], field: str) -> str | None:
    keys = headers.getall(field, ())
    if len(keys) > 1 or any(len(key) > LONGEST_KEY for key in keys):
        raise BadRequest(f"{field} must be given once, with {LONGEST_KEY} characters at most")
    return keys[0] or None if keys else None
