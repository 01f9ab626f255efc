"""The values of the settings that choose the credentials of routes."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from gateway.settings.credential_kinds import names
from gateway.settings.grants import OPERATIONS, Operation
from gateway.settings.reading.kinds import ValueKind, split_list
from gateway.settings.reading.values import Converter, Serializer, TextPattern

NONE = ("none",)  # everybody may do everything, by an explicit setting
BY_ORIGIN = ("origin",)  # the HTTP origin decides
ANONYMOUS_KIND = f"a list of {', '.join(get_args(Operation))}"
Visibility = Literal["auto", "public", "private"]


def _kind(kinds: tuple[str, ...]) -> str:
    return f"none, or a list of {', '.join(kinds)}"


def _item(kinds: tuple[str, ...]) -> TextPattern:
    return TextPattern("|".join((*NONE, *kinds)))


def _parse(value: object, kinds: tuple[str, ...]) -> tuple[object, ...]:
    items = split_list(value)
    if not isinstance(items, list | tuple) or any(it not in (*NONE, *kinds) for it in items):
        raise ValueError(f"must be {_kind(kinds)}")
    if len(set(items)) < len(items):
        raise ValueError("must not name a kind of credential twice")
    if len(items) > 1 and "none" in items:
        raise ValueError("must be none by itself, or name what is asked for")
    if len(items) > 1 and "origin" in items:
        raise ValueError("must be origin by itself, which takes any credential, or not name it")
    return tuple(items)


def _parse_default(value: object) -> tuple[object, ...]:
    return _parse(value, names())


def _parse_route(value: object) -> tuple[object, ...]:
    return _parse(value, (*names(), *BY_ORIGIN))


def _parse_anonymous(value: object) -> object:
    items = split_list(value)
    if not isinstance(items, list | tuple) or any(it not in OPERATIONS for it in items):
        raise ValueError(f"must be {ANONYMOUS_KIND}")
    return items


def _show(auth: tuple[str, ...]) -> object:
    """Return the value as it is written in a file: none, or a list."""
    return auth[0] if auth == NONE else list(auth)


# The value is an empty tuple if the setting is not given.
Auth = Annotated[
    tuple[Annotated[str, _item(names())], ...],
    Converter(_parse_default),
    Serializer(_show),
    TextPattern(),
    ValueKind(_kind(names())),
]
RouteAuth = Annotated[
    tuple[Annotated[str, _item((*names(), *BY_ORIGIN))], ...],
    Converter(_parse_route),
    Serializer(_show),
    TextPattern(),
    ValueKind(_kind((*names(), *BY_ORIGIN))),
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
