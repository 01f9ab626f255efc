"""Errors for typical mistakes, where Python's own does not say what to write."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def refusing_method(sentence: str) -> Callable[..., None]:
    """Return a method that raises TypeError with a sentence.

    Hide it from type checkers, which would take the method for one that works.
    """

    def method(*_: object) -> None:
        raise TypeError(sentence)

    return method


def checks_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function name its keyword arguments in the TypeError for an unknown one."""
    known = list(inspect.signature(function).parameters)[1:]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"there is no {name!r} here: write one of {', '.join(known)}")
        return function(*args, **kwargs)

    return checked
