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


def refusing_with(name: str) -> Callable[..., None]:
    """Return the `__enter__` of a class for asyncio, whose twin for threads has the same name."""
    return refusing_method(
        f"headgate.{name} is for asyncio: write async with, or use headgate.sync.{name}"
    )


def check_make_source(make_source: object) -> None:
    """Raise TypeError for what is not a function, before anything is begun with it."""
    if not callable(make_source):
        if inspect.iscoroutine(make_source):
            make_source.close()
        raise TypeError(
            "make_source is a function that returns the source, such as `answer` and not "
            f"`answer()`: pass the function itself, not {type(make_source).__name__}"
        )


def checks_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function name its keyword arguments in the TypeError for an unknown one."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    known = [each.name for each in parameters if each.kind != each.VAR_POSITIONAL]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"there is no {name!r} here: write one of {', '.join(known)}")
        return function(*args, **kwargs)

    return checked
