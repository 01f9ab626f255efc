"""The values of the settings that choose the credentials of routes."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from headgate_gateway.settings.credential_kinds import names
from headgate_gateway.settings.grants import Operation
from headgate_gateway.settings.reading.kinds import ValueKind, split_list
from headgate_gateway.settings.reading.values import Converter, Serializer, TextPattern

NONE = ("none",)  # everybody may do everything, by an explicit setting
ANONYMOUS_KIND = f"a list of {', '.join(get_args(Operation))}"
Visibility = Literal["auto", "public", "private"]


def kinds_in_words(kinds: tuple[str, ...]) -> str:
    """Return what the setting may be."""
    return f"none, or a list of {', '.join(kinds)}"


def word_pattern(kinds: tuple[str, ...]) -> TextPattern:
    """Return the pattern of one word in the setting."""
    return TextPattern("|".join((*NONE, *kinds)))


def parse_kinds(value: object, kinds: tuple[str, ...]) -> tuple[object, ...]:
    """Return the words of a setting that may name these kinds, or none. Raises ValueError."""
    items = split_list(value)
    if not isinstance(items, list | tuple) or any(it not in (*NONE, *kinds) for it in items):
        raise ValueError(f"must be {kinds_in_words(kinds)}")
    if len(set(items)) < len(items):
        raise ValueError("must not name a kind of credential twice")
    if len(items) > 1 and "none" in items:
        raise ValueError("must be none by itself, or name what is asked for")
    return tuple(items)


def _parse_default(value: object) -> tuple[object, ...]:
    try:
        return parse_kinds(value, names())
    except ValueError as error:
        if value in ("origin", ["origin"]):
            raise ValueError(f"{error}; origin is for a route with an http origin") from None
        raise


def _parse_anonymous(value: object) -> object:
    items = split_list(value)
    if not isinstance(items, list | tuple) or any(it not in get_args(Operation) for it in items):
        raise ValueError(f"must be {ANONYMOUS_KIND}")
    return items


def shown_kinds(auth: tuple[str, ...]) -> object:
    """Return the value as it is written in a file: none, or a list."""
    return auth[0] if auth == NONE else list(auth)


# The value is an empty tuple if the setting is not given.
Auth = Annotated[
    tuple[Annotated[str, word_pattern(names())], ...],
    Converter(_parse_default),
    Serializer(shown_kinds),
    TextPattern(),
    ValueKind(kinds_in_words(names())),
]
Anonymous = Annotated[
    tuple[Operation, ...],
    Converter(_parse_anonymous),
    TextPattern(),
    ValueKind(ANONYMOUS_KIND),
]


def who_may_use(prefixes: str, listen: object) -> str:
    """Return what is wrong where streams are open to a network without an explicit auth."""
    return (
        f"must say who may use {prefixes}, since others than this machine reach {listen}: "
        'auth = ["tokens"] asks for tokens, auth = "none", HEADGATE_AUTH=none or --auth none lets '
        "everybody read, write and delete (docs/access.md has recipes)"
    )
