"""The operations of the JSON API, each declared at the function or method that carries it out."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")
StructType = type[msgspec.Struct]


class Operation:
    """An operation of the API: it answers a value, events of it, or 204 with none of these.

    `call` is a function, or a method of the console or of a part of it. It takes what its
    parameters are called of `request`, `console`, `viewer`, `query` and `body`. The types of the
    last two and of its result are those of the API.
    """

    def __init__(
        self,
        method: str,
        path: str,
        call: Callable[..., Any],
        value: StructType | None,
        *,
        events: bool,
    ) -> None:
        self.method = method
        self.path = path
        self.call = call
        self.events = events
        self._value = value

    @cached_property
    def types(self) -> dict[str, Any]:
        """The types of the parameters by their names, and of the result."""
        return get_type_hints(self.call)

    @property
    def query(self) -> StructType | None:
        """The type of the query, if there is one."""
        return self.types.get("query")

    @property
    def body(self) -> StructType | None:
        """The type of the body, if there is one."""
        return self.types.get("body")

    @property
    def answer(self) -> StructType | None:
        """The type of the value that is answered, or of the data of each event."""
        result = self.types["return"]
        is_value = isinstance(result, type) and issubclass(result, msgspec.Struct)
        return result if is_value else self._value

    @property
    def summary(self) -> str:
        """The first line of the documentation."""
        return (self.call.__doc__ or "").partition("\n")[0]


OPERATIONS: list[Operation] = []


def operation(
    method: str, path: str, *, value: StructType | None = None, events: StructType | None = None
) -> Callable[[F], F]:
    """Make a function or method an operation of the API.

    One that makes its response itself names the `value` in it, or the value of its `events`.
    """

    def add(call: F) -> F:
        has_events = events is not None
        OPERATIONS.append(Operation(method, path, call, value or events, events=has_events))
        return call

    return add
