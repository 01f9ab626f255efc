"""Convert and check values of settings by their type hints, and collect all mistakes.

The tables of settings and of the file of tokens are read with `reader`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from typing_extensions import override

Place = tuple[str | int, ...]
Read = Callable[[object, object], object]  # takes a value, and the context of the validation
REQUIRED = object()  # stands for a missing value
HIDDEN = "***"


class Secret:
    """A text that is hidden when it is printed or logged."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    @override
    def __hash__(self) -> int:
        return hash(self._text)

    @override
    def __str__(self) -> str:
        return HIDDEN if self else ""

    @override
    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"


class Mistake(NamedTuple):
    """A mistake in a value; `place` is the path of keys and indexes to it.

    `must` says what the value must be; if it is empty, the setting's type says so. A missing value
    is `REQUIRED`.
    """

    place: Place
    kind: Literal["unknown", "missing", "type", "refused"]
    value: object
    must: str = ""


class Mistaken(ValueError):
    """A table's mistakes as an error, whose text shows no values: they may be secrets."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        lines = (f"{'.'.join(map(str, it.place))} {it.must or it.kind}" for it in self.mistakes)
        super().__init__("\n".join(lines))

    def below(self, step: str | int) -> Iterator[Mistake]:
        """Yield the mistakes with `step`, the key or index of this table, before their places."""
        return (it._replace(place=(step, *it.place)) for it in self.mistakes)


class Converter(NamedTuple):
    """A conversion before the type check; its ValueError continues the sentence "VALUE …"."""

    convert: Callable[[object], object]


class Validator(NamedTuple):
    """A check or conversion after the type check, with errors like those of Converter."""

    validate: Callable[[Any], object]


class Serializer(NamedTuple):
    """The function that turns a value into its written form."""

    serialize: Callable[[Any], object]


class TextPattern(NamedTuple):
    """The regular expression that a whole text matches; empty for any text.

    Numbers and lists with a TextPattern may be written as a text, too; with `is_or_list`, a text
    may be written as a list of such texts. It is for the schema: what is read is checked by a
    Converter or Validator.
    """

    pattern: str = ""
    is_or_list: bool = False


@contextmanager
def noting(mistakes: list[Mistake], step: str | int, value: object) -> Iterator[None]:
    """Add the mistakes of a part of a table or list to `mistakes` instead of raising them."""
    try:
        yield
    except Mistaken as found:
        mistakes += found.below(step)
    except ValueError as refusal:
        mistakes.append(Mistake((step,), "refused", value, str(refusal)))


def of_other_type(value: object) -> Mistaken:
    """Return the error for a value of another type, or out of its bounds."""
    return Mistaken([Mistake((), "type", value)])


def bare_type(hint: object) -> tuple[object, tuple[object, ...]]:
    """Return a type without its annotations, and the annotations."""
    if get_origin(hint) is Annotated:
        bare, *metadata = get_args(hint)
        return bare, tuple(metadata)
    return hint, ()


def reader(hint: object, check: Callable[[Any], None] | None = None) -> Read:
    """Return the function that reads values of an annotated type; `check` follows the type."""
    bare, metadata = bare_type(hint)
    before = [it.convert for it in metadata if isinstance(it, Converter)]
    after = [it.validate for it in metadata if isinstance(it, Validator)]
    typed = _typed(bare)

    def read(value: object, look: object) -> object:
        for step in before:
            value = step(value)
        value = typed(value, look)
        if check is not None:
            check(value)
        for step in after:
            value = step(value)
        return value

    return read


def _typed(bare: Any) -> Read:  # noqa: ANN401 - a type of the typing module
    origin, parts = get_origin(bare), get_args(bare)
    if origin is tuple:
        item = reader(parts[0])
        return lambda value, look: _items(item, value, look)
    if origin is dict:
        key, item = map(reader, parts)
        return lambda value, look: _entries(key, item, value, look)
    if origin in {Union, UnionType}:  # with None
        item = reader(next(part for part in parts if part is not NoneType))
        return lambda value, look: None if value is None else item(value, look)
    if hasattr(bare, "of"):  # a table
        return bare.of  # type: ignore[no-any-return] # as all tables have it
    exact: Callable[[object], object] = partial(_exactly, bare)
    if origin is Literal:
        exact = partial(_one_of, parts)
    elif bare in {float, Secret}:
        exact = _number if bare is float else _secret
    return lambda value, _look: exact(value)


def _one_of(words: tuple[object, ...], value: object) -> object:
    if not (isinstance(value, str) and value in words):
        raise of_other_type(value)
    return value


def _items(item: Read, value: object, look: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise of_other_type(value)
    found, mistakes = [], list[Mistake]()
    for index, one in enumerate(value):
        with noting(mistakes, index, one):
            found.append(item(one, look))
    if mistakes:
        raise Mistaken(mistakes)
    return tuple(found)


def _entries(key: Read, item: Read, value: object, look: object) -> dict[object, object]:
    if not isinstance(value, dict):
        raise of_other_type(value)
    found, mistakes = {}, list[Mistake]()
    for name, one in value.items():
        with noting(mistakes, name, one):
            found[key(name, look)] = item(one, look)
    if mistakes:
        raise Mistaken(mistakes)
    return found


def _exactly(kind: type, value: object) -> object:
    if type(value) is not kind:  # a boolean is no number
        raise of_other_type(value)
    return value


def _number(value: object) -> float:
    if type(value) not in {int, float}:
        raise of_other_type(value)
    try:
        number = float(value)  # type: ignore[arg-type] # looked at above
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise of_other_type(value)
    return number


def _secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise of_other_type(value)
    return Secret(value)
