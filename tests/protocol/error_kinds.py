"""The kinds of errors that requests are answered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway import errors
from headgate_gateway.errors import HeadgateError, StartError
from headgate_gateway.features import errors as of_features

if TYPE_CHECKING:
    from collections.abc import Iterator


def answered_errors() -> set[type[HeadgateError]]:
    """Return the kinds; a server that cannot start answers nobody."""
    modules = {errors.__name__, of_features.__name__}
    found = {it for it in _below(HeadgateError) if it.__module__ in modules}
    return {it for it in found if not issubclass(it, StartError)}


def _below(kind: type[HeadgateError]) -> Iterator[type[HeadgateError]]:
    for it in kind.__subclasses__():
        yield it
        yield from _below(it)
