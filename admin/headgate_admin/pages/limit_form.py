"""The fields that were entered in a form, as values; and the form for the limits of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from headgate_admin.errors import ConsoleError
from headgate_admin.model.stream_wishes import OfLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.protocol.streams.limits import StreamLimits

T = TypeVar("T")


class LimitField(NamedTuple):
    """A field of the form, by the name of the limit."""

    name: str
    words: str


LIMITS = (
    LimitField("ttl", "Ends after so long unused (seconds)"),
    LimitField("retention_age", "Keep messages for (seconds)"),
    LimitField("retention_size", "Keep at most (bytes)"),
    LimitField("retention_messages", "Keep at most (messages)"),
)


def filled(entered: Mapping[str, str], kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the fields of `kind` that were entered; an empty one chooses nothing."""
    texts = {name: entered.get(name, "").strip() for name in kind.__struct_fields__}
    return {name: text for name, text in texts.items() if text}


def wish_of(entered: Mapping[str, object], kind: type[T]) -> T:
    """Return the fields of a form as a value. Raises ConsoleError that names a wrong field."""
    try:
        return msgspec.convert(entered, kind, strict=False)
    except msgspec.ValidationError as refusal:
        words, _, field = f"{refusal}".partition(" - at ")
        named = {it.name: it.words for it in LIMITS}
        name = field.strip("`").removeprefix("$.")
        where = named.get(name, name)
        raise ConsoleError(400, f"{where}: {words[:1].lower()}{words[1:]}") from refusal


def changed_limits(entered: Mapping[str, str], now: StreamLimits) -> OfLimits:
    """Return the limits that a form changes: an empty field leaves one to the route again.

    Raises ConsoleError if a value is not a number, or out of its bounds.
    """
    fields: dict[str, object] = {}
    for name, _ in LIMITS:
        text = entered.get(name, "").strip()
        before = str(getattr(now, name)) if name in now.own else ""
        if text != before:
            fields[name] = text or None
    return wish_of(fields, OfLimits)
