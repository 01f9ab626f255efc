"""Functions of an operator that settings name by their import path."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Annotated, Any

from gateway.settings.reading.kinds import ValueKind
from gateway.settings.reading.values import TextPattern, Validator

_NAME = r"[^\W\d]\w*"
_IMPORT_PATH = rf"{_NAME}(\.{_NAME})*:{_NAME}"
IMPORT_KIND = "an import path such as package.module:function"


def _check_import_path(value: str) -> str:
    if value and re.fullmatch(_IMPORT_PATH, value) is None:
        raise ValueError(f"must be {IMPORT_KIND}")
    return value


ImportPath = Annotated[
    str,
    Validator(_check_import_path),
    ValueKind(IMPORT_KIND),
    TextPattern(rf"({_IMPORT_PATH})?"),
]


def import_function(path: str) -> Callable[..., Any]:
    """Import the function that a path names. Raises ValueError."""
    module, _, name = path.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the operator's module does
        reason = f"{type(error).__name__}: {error}".rstrip()
        raise ValueError(f"must be a function that can be imported: {reason}") from error
    match found:
        case Callable():
            return found
        case _:
            raise ValueError(f"must be a function: {path} is {type(found).__name__}")
