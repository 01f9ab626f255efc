"""Describe settings for documents and error messages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from gateway.settings.alert_webhook import AlertSettings
from gateway.settings.declared import Settings
from gateway.settings.reading.kinds import SIZE_KIND, ValueKind, show_size

if TYPE_CHECKING:
    from gateway.settings.reading.tables import Setting, Table

ENVIRONMENT_PREFIX = "HEADGATE_"


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """The description of a setting in documents and error messages."""

    key: str
    environment: str
    default: str
    allowed: str
    help: str
    reload: str


def describe_settings(model: type[Table] = Settings) -> tuple[SettingDescription, ...]:
    """Return the settings as they were declared; limits, TLS, the front and alerts come last."""
    fields = sorted(model.settings.items(), key=lambda it: it[0] in AlertSettings.settings)
    return tuple(
        SettingDescription(
            key=key,
            environment=variable(key) if model is Settings else "",
            default="" if field.is_required else _default(field.plain(field.default)),
            allowed=allowed(field),
            help=field.description,
            reload=field.reload,
        )
        for key, field in fields
    )


def variable(key: str) -> str:
    """Return the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + key.upper()


def hint(field: Setting, value: object) -> str:
    """Return a suggestion of what was meant, in words that follow those of `allowed`; else ""."""
    if get_origin(field.type) is Literal and str(value) in get_args(field.type):
        return f'; write "{value}"'  # 1.3, which TOML reads as a number
    if get_origin(field.type) is Literal or not isinstance(value, str):
        return ""
    if not value:
        return "" if field.is_required else "; leave it out for the default"
    return _kind(field).hint(value, field.is_within)


def _kind(field: Setting) -> ValueKind:
    return next(item for item in field.metadata if isinstance(item, ValueKind))


def _default(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if value and isinstance(value, str) else json.dumps(value)


def allowed(field: Setting) -> str:
    """Return what a setting may be, in words that continue "must be"."""
    if get_origin(field.type) is Literal:
        return f"one of {', '.join(get_args(field.type))}"
    words = _kind(field).words
    if field.bounds is None:
        return words
    if words == SIZE_KIND:
        return f"{words}, from {' to '.join(show_size(int(it)) for it in field.bounds)}"
    return f"{words}, from {' to '.join(f'{it:,}' for it in field.bounds)}"
