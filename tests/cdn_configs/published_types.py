"""Whether a JSON value is what a vendor's published Python types describe."""

from __future__ import annotations

from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import is_typeddict


def mismatches(value: Any, kind: Any, at: str = "") -> list[str]:
    """Where the value is another than the type says; nothing where it fits.

    Of several types that are allowed, it is told what is wrong with the one that fits best.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Annotated, Required, NotRequired):
        return mismatches(value, arguments[0], at)
    if origin in (Union, UnionType):
        return min((mismatches(value, one, at) for one in arguments), key=len)
    if is_typeddict(kind):
        return _fields(value, kind, at)
    if origin is None or origin is Literal:
        return _plain(value, kind, at)
    return _parts(value, arguments, at)


def _plain(value: Any, kind: Any, at: str) -> list[str]:
    choices = get_args(kind)
    if choices:
        return [] if value in choices else [f"{at}: {value!r} is none of {choices}"]
    return [] if type(value) is kind else [f"{at}: {value!r} is no {kind.__name__}"]


def _parts(value: Any, kinds: tuple[Any, ...], at: str) -> list[str]:
    """A list, or an object with names of one's choice."""
    if not isinstance(value, list if len(kinds) == 1 else dict):
        return [f"{at}: {type(value).__name__}"]
    named = value.items() if isinstance(value, dict) else enumerate(value)
    return [wrong for name, part in named for wrong in mismatches(part, kinds[-1], f"{at}[{name}]")]


def _fields(value: Any, kind: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: no dict"]
    hints = get_type_hints(kind, include_extras=True)
    known = {_sent_as(name, hint): name for name, hint in hints.items()}
    missing = {sent for sent, name in known.items() if _is_required(hints[name])} - value.keys()
    wrong = [f"{at}: {name} is missing" for name in sorted(missing)]
    for name, part in value.items():
        if name not in known:
            wrong.append(f"{at}.{name}: unknown")
        else:
            wrong += mismatches(part, hints[known[name]], f"{at}.{name}")
    return wrong


def _is_required(hint: Any) -> bool:
    """Annotations that are texts do not tell it to the type itself."""
    if get_origin(hint) is Annotated:
        return _is_required(get_args(hint)[0])
    return get_origin(hint) is Required


def _sent_as(name: str, hint: Any) -> str:
    """The name in JSON: a type may say that it is another than in Python."""
    for note in getattr(hint, "__metadata__", ()):
        if alias := getattr(note, "alias", None):
            return str(alias)
    return name
