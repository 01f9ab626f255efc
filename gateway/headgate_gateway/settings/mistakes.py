"""Tell the mistakes of settings in sentences: where, what it is, and what it must be."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.names import is_quoted
from headgate_gateway.settings.reading.files import may_be_shown
from headgate_gateway.settings.reading.given import AFTER_THE_FILE, is_array, setting_at, variable
from headgate_gateway.settings.reading.toml_file import spell
from headgate_gateway.settings.reading.values import REQUIRED, Secret
from headgate_gateway.settings.setting_descriptions import allowed, hint, shown_default

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headgate_gateway.settings.cross_checks.ineffective_settings import IneffectiveSetting
    from headgate_gateway.settings.reading.given import GivenValue
    from headgate_gateway.settings.reading.tables import Setting, Table
    from headgate_gateway.settings.reading.values import Mistake, Place

# Settings whose defaults may conflict with the given value of another one.
DEPENDS_ON: dict[Place, tuple[Place, ...]] = {
    ("admin", "listen"): (("listen",),),
    ("auth",): (("front", "hosts"), ("listen",)),
    ("limits", "max_pending_appends"): (("limits", "max_append"),),
    ("tls", "key"): (("tls", "certificate"),),
    ("admin", "tls", "key"): (("admin", "tls", "certificate"),),
}
# Files with a secret, which may have been given in place of the path.
SECRET_FILES = {"key_file", "secret_file", "token_file"}
SHOWN_ITEMS = 8  # of a list
PASSWORD_HASH: Place = ("admin", "users", 0, "password_hash")
# What other servers call a setting or a section; in a section with `listen`, a port is in that.
OTHER_NAMES: dict[str, tuple[Place, ...]] = {
    "address": (("listen",),),
    "bind": (("listen",),),
    "cache": (("limits", "cache_size"),),
    "cors": (("http", "cors_origins"),),
    "data": (("storage",),),
    "host": (("listen",),),
    "logging": (("log",),),
    "port": (("listen",),),
    "retention": tuple(("routes", 0, f"retention_{it}") for it in ("age", "size", "messages")),
    "ssl": (("tls",),),
}


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """A mistake in a sentence, and the line of the file by which mistakes are sorted."""

    line: int
    sentence: str


def in_order(problems: Sequence[SettingProblem]) -> tuple[str, ...]:
    """Return the sentences in the order of the file's lines."""
    return tuple(problem.sentence for problem in sorted(problems, key=lambda it: it.line))


def problems_of(
    model: type[Table],
    mistakes: Sequence[Mistake],
    misspelt: set[Place],
    given: Mapping[Place, GivenValue],
) -> Iterator[SettingProblem]:
    """Yield the mistakes as problems, without those that follow from a misspelt key."""
    intended = misspelt | {
        (*it.place[:-1], *intended_place(model, it.place)[-1:])
        for it in mistakes
        if it.kind == "unknown"
    }
    for mistake in mistakes:
        if mistake.place not in intended or _has_value(mistake.place, given):
            yield _problem(model, mistake, given)


def unknown(model: type[Table], one: GivenValue, place: Place) -> SettingProblem:
    """Return the problem of a key that no table has at this place."""
    return SettingProblem(one.line(place), _unknown(model, one, place))


def given_twice(one: GivenValue, other: GivenValue) -> Iterator[SettingProblem]:
    """Yield the problem of two variables for one setting, such as a section and its short form."""
    if one.source != other.source:
        sentence = f"{one.source} and {other.source} are the same setting: give one of them."
        yield SettingProblem(AFTER_THE_FILE, sentence)


def ineffective(
    model: type[Table], found: IneffectiveSetting, given: Mapping[Place, GivenValue]
) -> SettingProblem:
    """Return the problem of a setting that has no effect, or a bad one, beside the others."""
    one = _given_at(found.path, given)
    assert one is not None, "defaults have their effect"
    value_text = shown(setting_at(model, found.path), found.path, one.at(found.path, None))
    sentence = f"{one.subject(found.path)} is {value_text}, but {found.must}."
    return SettingProblem(one.line(found.path), sentence)


def intended_place(model: type[Table], place: Place) -> Place:
    """Return the place of the setting that an unknown key was probably intended for, or ()."""
    place = _numbered(model, place)
    return next(iter(_meant(model, place) or _nearest(model, place)), ())


def _has_value(place: Place, given: Mapping[Place, GivenValue]) -> bool:
    one = _given_at(place, given)
    return one is not None and one.at(place, REQUIRED) is not REQUIRED


def _given_at(place: Place, given: Mapping[Place, GivenValue]) -> GivenValue | None:
    """Return the value that was given at a place, or for the array of tables around it."""
    return next((given[place[:it]] for it in range(len(place), 0, -1) if place[:it] in given), None)


def _problem(
    model: type[Table], mistake: Mistake, given: Mapping[Place, GivenValue]
) -> SettingProblem:
    """Return a mistake as a sentence with its line."""
    path = mistake.place
    one = _given_at(path, given)
    if one is not None:
        value_text = shown(setting_at(model, path), path, one.at(path, mistake.value))
        sentence = _sentence(model, mistake, one, one.subject(path), value_text)
        return SettingProblem(one.line(path), sentence)
    default = setting_at(model, path)
    value_text = "not given"  # an empty list, which cannot be written
    if path != ("auth",) and default is not None:
        value_text = f"{shown_default(default)} unless it is given"
    cause = next((given[it] for it in DEPENDS_ON.get(path, ()) if it in given), None)
    if cause is None:  # the default itself is wrong, such as a missing folder
        return SettingProblem(
            AFTER_THE_FILE, _sentence(model, mistake, None, spell(path), value_text)
        )
    subject = f"{cause.where(cause.place)}: {spell(path)}"
    return SettingProblem(
        cause.line(cause.place), _sentence(model, mistake, None, subject, value_text)
    )


def _sentence(
    model: type[Table], mistake: Mistake, one: GivenValue | None, subject: str, value_text: str
) -> str:
    path = mistake.place
    if mistake.kind == "unknown" and one is not None:
        return _unknown(model, one, path)
    must, suggestion = f"must be {_table_kind(model, path)}", ""
    field = setting_at(model, path) if isinstance(path[-1], str) else None
    if field is not None:
        must, suggestion = f"must be {allowed(field)}", hint(field, mistake.value)
    if mistake.kind == "missing":
        return f"{subject} is missing; it {mistake.must or must}."
    if mistake.must and mistake.must != must.partition(", from ")[0]:  # says more than `allowed`
        must, suggestion = mistake.must, ""
    if field is not None and field.table and one is not None and one.place == path:
        suggestion = _first_table(path, one)
    if isinstance(mistake.value, str) and is_quoted(mistake.value):
        suggestion = "; leave out the quotes around it"
    return f"{subject} is {value_text}, but {must}{suggestion}."


def _first_table(path: Place, one: GivenValue) -> str:
    """Return how an array of tables is written, where it was given as something else."""
    if one.is_variable:
        return f"; {variable((*path, 0))}__ and a key are in the first"
    return f"; each begins with [[{spell(path)}]]" if isinstance(one.value, dict) else ""


def _table_around(model: type[Table], path: Place) -> type[Table]:
    """Return the class of the table that has the last key of a path, or of the nearest around."""
    for length in range(len(path) - 1, 0, -1):
        around = setting_at(model, path[:length])
        if around is not None:
            table = around.table if isinstance(path[length - 1], int) else around.section
            if table is not None:
                return table
    return model


def _table_kind(model: type[Table], path: Place) -> str:
    """Return what an item of an array is, in words that continue "must be"."""
    around = setting_at(model, path)
    words = "" if around is None else allowed(around)
    return words.replace("an array of tables, each", "a table")


def _unknown(model: type[Table], one: GivenValue, place: Place) -> str:
    """Return the sentence about a key that its table does not have."""
    subject = one.subject(place)
    place = _numbered(model, place)
    meant = _meant(model, place)
    found = meant or _nearest(model, place)
    if not found:
        value = one.at(place, None)
        keys = value if isinstance(value, dict) else ()
        inside = dict.fromkeys(it for key in keys for it in _meant(model, (*place, key)))
        instead = f"; write {', '.join(map(spell, inside))} instead" if inside else ""
        return f"{subject} is not a setting{instead}."
    spelt = " or ".join(variable(it) if one.is_variable else spell(it) for it in found)
    field = setting_at(model, found[0])
    if meant == [PASSWORD_HASH] and field is not None:
        spelt += f", {allowed(field)}"
    return f"{subject} is not a setting; {'it' if meant else 'the nearest'} is {spelt}."


def _numbered(model: type[Table], place: Place) -> Place:
    """Return a place with the number of the first table where an array is followed by none."""
    found: Place = ()
    for at, step in enumerate(place):
        is_numbered = isinstance(step, int) or (found and isinstance(found[-1], int))
        if is_array(model, found) and not is_numbered:
            found += (0,) if at < len(place) - 1 else (0, step)
        else:
            found += (step,)
    return found


def _meant(model: type[Table], place: Place) -> list[Place]:
    """Return the places that have a key which was given elsewhere, as high up as there are any.

    It may be written with the name of its section before it, such as tls_certificate, with the
    number of a table, such as routes_0_prefix, or with the name that other servers have for it.
    """
    key = str(place[-1])
    if setting_at(model, place) is not None:
        return [place]
    if place == ("admin", "password"):
        return [PASSWORD_HASH]
    if key in OTHER_NAMES:
        beside = [(*place[:-1], *it) for it in OTHER_NAMES[key]]
        return [it for it in beside if setting_at(model, it) is not None] or [*OTHER_NAMES[key]]
    found = [it for it in _places(model) if key in (it[-1], "_".join(map(str, it)))]
    if found:
        return [it for it in found if len(it) == min(map(len, found))]
    numbered = re.fullmatch(r"(\w+?)_(\d+)_(\w+)", key)
    array, number, inner = ("routes", 0, key) if numbered is None else numbered.groups()
    at = (array, int(number), inner)
    if setting_at(model, at) is not None:
        return [at]
    return [*OTHER_NAMES.get(str(place[0]), ())]


def _nearest(model: type[Table], place: Place) -> list[Place]:
    """Return the place of the setting whose name is nearest to an unknown one, if there is one."""
    import difflib  # imported only for a mistake

    key = str(place[-1])
    here = {key: (*place[:-1], key) for key in _table_around(model, place).settings}
    begun = next((it for it in here if it.startswith(key)), None)
    if begun is not None:
        return [here[begun]]
    anywhere = {"_".join(map(str, it)): it for it in _places(model)}
    for names in (here, anywhere if len(place) < 3 else {}):
        for name in difflib.get_close_matches(key, names, n=1):
            return [names[name]]
    return []


def _places(model: type[Table], at: Place = ()) -> Iterator[Place]:
    """Yield the place of each setting, and of those in sections."""
    for key, one in model.settings.items():
        yield (*at, key)
        if one.section is not None:
            yield from _places(one.section, (*at, key))


def shown(field: Setting | None, path: Place, value: object) -> str:
    """Return a refused value as messages have it: itself only where it cannot be a secret."""
    place = value.removeprefix("file:") if isinstance(value, str) else ""
    # What names a file that is there is not its secret.
    if _holds_secret(field, path) and not os.path.lexists(place):
        return "not shown here"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return _shown_items(value, path)
    text = json.dumps(value, ensure_ascii=False, default=str)
    if may_be_shown(place or text):
        return text
    characters = len(value if isinstance(value, str) else text)
    return f"not shown here ({characters:,} characters)"


def _shown_items(values: Sequence[object], path: Place) -> str:
    if any(isinstance(it, dict | list) for it in values):
        return "a list of tables"
    items = [shown(None, path, it) for it in values[: SHOWN_ITEMS + 1]]
    is_shown = len(items) <= SHOWN_ITEMS and not any("not shown" in it for it in items)
    return f"[{', '.join(items)}]" if is_shown else f"not shown here ({len(values)} items)"


def _holds_secret(field: Setting | None, path: Place) -> bool:
    """Return whether a setting is a secret, names a file of one, or is an array with such keys."""
    if field is None or path[-1] in SECRET_FILES:
        return field is not None
    inner = field.section or field.table
    return field.type is Secret or (
        inner is not None
        and any(_holds_secret(one, (*path, key)) for key, one in inner.settings.items())
    )
