"""Describe settings for documents and error messages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from headgate_gateway.settings.declared import Settings
from headgate_gateway.settings.reading.given import variable
from headgate_gateway.settings.reading.kinds import SIZE_KIND, ValueKind, show_size
from headgate_gateway.settings.reading.toml_file import spell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.reading.tables import Setting, Table
    from headgate_gateway.settings.reading.values import Place


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """The description of a setting in documents; `path` is its place in a file of settings."""

    key: str
    path: str
    environment: str
    default: str
    allowed: str
    help: str
    reload: str


def describe_settings(
    model: type[Table] = Settings, at: Place = ()
) -> Iterator[tuple[SettingDescription, Setting]]:
    """Yield the settings of a table at a place as they were declared, each with its declaration.

    Those of its sections follow, one by one.
    """
    for key, one in model.settings.items():
        if one.section is None:
            yield _describe(key, one, (*at, key)), one
    for key, one in model.settings.items():
        if one.section is not None:
            yield from describe_settings(one.section, (*at, key))


def _describe(key: str, one: Setting, place: Place) -> SettingDescription:
    return SettingDescription(
        key=key,
        path=spell(place),
        environment=variable(place),
        default="" if one.is_required else shown_default(one),
        allowed=allowed(one),
        help=one.description,
        reload=one.reload,
    )


def shown_default(one: Setting) -> str:
    """Return the default of a setting as it is written."""
    value = one.plain(one.default)
    if isinstance(value, float):
        return f"{value:g}"
    return value if value and isinstance(value, str) else json.dumps(value)


def hint(field: Setting, value: object) -> str:
    """Return a suggestion of what was meant, in words that follow those of `allowed`; else ""."""
    if get_origin(field.type) is Literal and str(value).lower() in get_args(field.type):
        return f'; write "{str(value).lower()}"'  # such as 1.3, which TOML reads as a number
    if get_origin(field.type) is Literal or field.section or not isinstance(value, str):
        return ""
    if not value:
        return "" if field.is_required else "; leave it out for the default"
    return _kind(field).hint(value, field.is_within)


def _kind(field: Setting) -> ValueKind:
    return next(item for item in field.metadata if isinstance(item, ValueKind))


def allowed(field: Setting) -> str:
    """Return what a setting may be, in words that continue "must be"."""
    if field.section is not None:
        short = field.section.settings.get(field.section.short)
        return "a table" if short is None else f"a table, or {allowed(short)}"
    if get_origin(field.type) is Literal:
        return f"one of {', '.join(get_args(field.type))}"
    words = _kind(field).words
    if field.bounds is None:
        return words
    if words == SIZE_KIND:
        return f"{words}, from {' to '.join(show_size(int(it)) for it in field.bounds)}"
    return f"{words}, from {' to '.join(f'{it:,}' for it in field.bounds)}"
