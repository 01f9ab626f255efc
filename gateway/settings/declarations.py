"""Each setting as documents and error messages speak of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from annotated_types import Ge, Le

from gateway.settings.declared import Settings
from gateway.settings.kinds import SIZE_KIND, Kind, show_size
from gateway.settings.limits import LimitSettings

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

ENVIRONMENT_PREFIX = "HEADGATE_"


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting as documents and error messages speak of it."""

    key: str
    environment: str
    default: str
    allowed: str
    help: str


def declarations(model: type[BaseModel] = Settings) -> tuple[Declaration, ...]:
    """The settings in the order of their declaration; limits come last."""
    fields = sorted(model.model_fields.items(), key=lambda it: it[0] in LimitSettings.model_fields)
    shown = model.model_construct().model_dump(mode="json") if model is Settings else {}
    return tuple(
        Declaration(
            key=key,
            environment=variable(key) if model is Settings else "",
            default=_default(shown.get(key, field.default), required=field.is_required()),
            allowed=allowed(field),
            help=field.description or "",
        )
        for key, field in fields
    )


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + key.upper()


def _default(value: object, *, required: bool) -> str:
    if required:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return value if value and isinstance(value, str) else json.dumps(value)


def allowed(field: FieldInfo) -> str:
    """What a setting may be, in words that continue "must be"."""
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(get_args(field.annotation))}"
    words = next(item.words for item in field.metadata if isinstance(item, Kind))
    bounds = [*_limits(field, Ge, "ge"), *_limits(field, Le, "le")]
    if not bounds:
        return words
    least, most = map(show_size, bounds) if words == SIZE_KIND else (f"{it:,}" for it in bounds)
    return f"{words}, from {least} to {most}"


def _limits(field: FieldInfo, bound: type[Ge | Le], name: str) -> list[int]:
    return [getattr(item, name) for item in field.metadata if isinstance(item, bound)]
