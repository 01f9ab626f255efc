"""The values that a file, the environment and flags give, each with its source."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate_gateway.settings.reading.toml_file import TomlFile, spell, spell_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.settings.reading.tables import Setting, Table
    from headgate_gateway.settings.reading.values import Place

ENVIRONMENT_PREFIX = "HEADGATE_"
# The command line reads it to find the file, so it is no setting.
CONFIG_VARIABLE = "HEADGATE_CONFIG"
# Variables that Kubernetes sets in every container if a Service is called "headgate".
SERVICE_LINK = re.compile(
    r"HEADGATE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)"
)
AFTER_THE_FILE = 1 << 62  # the line by which mistakes of variables and flags are sorted
_STEP = "__"  # between the steps of a place, in a variable's name
_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")  # of a table in an array


@dataclass(frozen=True, slots=True)
class GivenValue:
    """The value of the setting at `place`, and its source: a file, or the name of a variable."""

    place: Place
    value: object
    source: TomlFile | str

    @property
    def is_variable(self) -> bool:
        """True when the source is an environment variable."""
        return isinstance(self.source, str) and self.source.startswith(ENVIRONMENT_PREFIX)

    def line(self, path: Place) -> int:
        """Return the line in the file; AFTER_THE_FILE for another source."""
        return AFTER_THE_FILE if isinstance(self.source, str) else self.source.line(path) or 0

    def subject(self, path: Place) -> str:
        """Return how to name the setting, or its part at `path`, in a message."""
        where = self.where(path)
        return where if isinstance(self.source, str) else f"{where}: {spell(path)}"

    def where(self, path: Place) -> str:
        """Return the place of the value: FILE:LINE, a variable or a flag."""
        if not isinstance(self.source, str):
            return self.source.position(path)
        name = self.source
        for length in range(len(self.place), len(path)):
            is_table = isinstance(self.at(path[:length], None), list | dict)
            # The items of a text with commas have no variables of their own.
            step = _step if self.is_variable and is_table else spell_step
            name += step(path[length])
        return name

    def at(self, path: Place, otherwise: object) -> object:
        """Return the value at `path` as it was written, or `otherwise` if there is none.

        A text that stands for a list has no parts.
        """
        value = self.value
        for step in path[len(self.place) :]:
            if not isinstance(value, list | dict):
                return otherwise
            try:
                value = value[step]  # type: ignore[index] # a number or a key
            except (LookupError, TypeError):
                return otherwise
        return value

    def paths(self) -> Iterator[Place]:
        """Yield the place of the value, and those of the keys of the tables in it."""
        yield self.place
        for index, table in enumerate(self.value if isinstance(self.value, list) else ()):
            for key in table if isinstance(table, dict) else ():
                yield (*self.place, index, key)


def variable(place: Place) -> str:
    """Return the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + "".join(map(_step, place)).removeprefix(_STEP)


def _step(step: str | int) -> str:
    return f"{_STEP}{str(step).upper()}"


def setting_at(model: type[Table], place: Place) -> Setting | None:
    """Return the setting at a place in a class of settings; None if there is none."""
    found: Setting | None = None
    inner: type[Table] | None = model
    for step in place:
        if isinstance(step, int):
            inner = None if found is None else found.table
            continue
        found = None if inner is None else inner.settings.get(step)
        inner = None if found is None else found.section
    return found


def is_array(model: type[Table], place: Place) -> bool:
    """Return whether a class of settings has an array of tables at a place."""
    one = setting_at(model, place)
    return one is not None and one.table is not None


def from_file(model: type[Table], values: Mapping[str, object], file: TomlFile) -> list[GivenValue]:
    """Return the values of a file, those in sections by themselves."""
    return [GivenValue(place, value, file) for place, value in _leaves(model, values, ())]


def _leaves(
    model: type[Table], values: Mapping[str, object], at: Place
) -> Iterator[tuple[Place, object]]:
    for key, value in values.items():
        one = model.settings.get(key)
        section = None if one is None else one.section
        if section is None:
            yield (*at, key), value
        elif isinstance(value, dict):
            yield from _leaves(section, value, (*at, key))
        else:
            yield ((*at, key, section.short) if section.short else (*at, key)), value


def from_environment(model: type[Table], environment: Mapping[str, str]) -> list[GivenValue]:
    """Return the values of the variables; those of an array of tables are one value.

    HEADGATE_LIMITS__MAX_APPEND is max_append in [limits], and HEADGATE_ROUTES__0__PREFIX is the
    prefix of the first of the routes.
    """
    given: list[GivenValue] = []
    arrays: dict[Place, dict[object, object]] = {}
    for name in sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX)):
        if name == CONFIG_VARIABLE or SERVICE_LINK.fullmatch(name):
            continue
        place = _place(model, name)
        value = from_text(setting_at(model, place), environment[name])
        first = next((at for at, step in enumerate(place) if isinstance(step, int)), 0)
        if not first:
            given.append(of_variable(model, place, value, name))
            continue
        *above, last = place[first:]
        table = arrays.setdefault(place[:first], {})
        for step in above:
            inner = table.setdefault(step, {})
            table = inner if isinstance(inner, dict) else {}
        table[last] = value
    # A text in the place of the tables comes last, so that it is refused.
    return [GivenValue(at, _lists(it), variable(at)) for at, it in arrays.items()] + given


def _place(model: type[Table], name: str) -> Place:
    """Return the place of the setting that a variable is named after; it may not exist."""
    place: Place = ()
    for word in name.removeprefix(ENVIRONMENT_PREFIX).lower().split(_STEP):
        one = setting_at(model, place)
        has_number = one is not None and one.table is not None and isinstance(place[-1], str)
        place += (int(word) if has_number and _NUMBER.fullmatch(word) else word,)
    return place


def of_variable(model: type[Table], place: Place, value: object, name: str) -> GivenValue:
    """Return the value of a variable or flag; that of a section is the one it is short for."""
    one = setting_at(model, place)
    section = None if one is None else one.section
    short = (section.short,) if section is not None and section.short else ()
    return GivenValue((*place, *short), value, name)


def from_text(one: Setting | None, text: object) -> object:
    """Parse a number or truth value: the environment and flags have only texts."""
    if not isinstance(text, str):
        return text
    kind = None if one is None else one.type
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    with contextlib.suppress(ValueError):
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    return text


def _lists(table: object) -> object:
    """Return tables by number as a list; where a number before is left out, it is empty."""
    if not isinstance(table, dict) or not table:
        return table
    if not all(isinstance(step, int) for step in table):
        return {key: _lists(value) for key, value in table.items()}
    return [_lists(table.get(number, {})) for number in range(min(len(table) + 1, max(table) + 1))]


def nested(given: Mapping[Place, GivenValue]) -> dict[str, object]:
    """Return the values as the tables of a file have them."""
    whole: dict[str, object] = {}
    # A value in the place of a section comes after what is in the section, so that it is refused.
    for place, one in sorted(given.items(), key=lambda it: -len(it[0])):
        table = whole
        for step in place[:-1]:
            table = table.setdefault(str(step), {})  # type: ignore[assignment] # is a section
        table[str(place[-1])] = one.value
    return whole
