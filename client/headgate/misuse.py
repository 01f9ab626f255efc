"""Errors for typical mistakes, where Python's own does not say what to write."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")
# The same credential under the other name, in its own form.
CREDENTIALS = {"token": "authorization='Bearer TOKEN'", "authorization": "token='TOKEN'"}


def refusing_method(sentence: str) -> Callable[..., None]:
    """Return a method that raises TypeError with a sentence.

    Hide it from type checkers, which would take the method for one that works.
    """

    def method(*_: object, **__: object) -> None:
        raise TypeError(sentence)

    return method


# For `hg.runs("x")` and `hg.chats("x")`: each object has all runs or chats, and is not a function.
NAME_THE_RUN = 'a run is named in a method, such as runs.follow("x"), and not in a call of runs'
NAME_THE_CHAT = (
    'a chat is named in a method, such as chats.history("x"), and not in a call of chats'
)


class ForAsyncio:
    """A class for asyncio whose twin for threads has the same name, as `with` and `for` say."""

    if not TYPE_CHECKING:

        def __enter__(self) -> None:
            name = type(self).__name__
            raise TypeError(
                f"headgate.{name} is for asyncio: write async with and async for, or use "
                f"headgate.sync.{name}"
            )

        __exit__ = __iter__ = __enter__


def check_session(session: object) -> None:
    """Raise TypeError for what is neither a session of aiohttp nor None."""
    if not isinstance(session, aiohttp.ClientSession | None):
        kind = type(session).__name__
        raise TypeError(f"a session is an aiohttp.ClientSession, not {kind}: leave it out")


def check_make_source(make_source: object) -> None:
    """Raise TypeError for what is not a function, before anything is begun with it."""
    if not callable(make_source):
        if inspect.iscoroutine(make_source):
            make_source.close()
        raise TypeError(
            "make_source is a function that returns the source, such as `answer` and not "
            f"`answer()`: pass the function itself, not {type(make_source).__name__}"
        )


def check_error_text(error_text: object) -> None:
    """Raise TypeError for what cannot make a text of an exception."""
    if not callable(error_text) or inspect.iscoroutinefunction(error_text):
        raise TypeError("error_text is a function without async, which makes a str of an exception")


def checks_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function name its keyword arguments in the TypeError for an unknown one."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    known = [each.name for each in parameters if each.kind != each.VAR_POSITIONAL]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in known:
                other = CREDENTIALS.get(name, "")
                instead = (
                    other if other.partition("=")[0] in known else f"one of {', '.join(known)}"
                )
                raise TypeError(f"there is no {name!r} here: write {instead}")
        return function(*args, **kwargs)

    return checked
