"""Load settings from a file, the environment and flags, and report all mistakes at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from headgate_gateway.settings import mistakes
from headgate_gateway.settings.added import kinds_named, model_for
from headgate_gateway.settings.cross_checks.ineffective_settings import ineffective_settings
from headgate_gateway.settings.cross_checks.open_keys import open_keys
from headgate_gateway.settings.declared import Settings
from headgate_gateway.settings.mistakes import SettingProblem, in_order, problems_of
from headgate_gateway.settings.reading import given
from headgate_gateway.settings.reading.files import Look
from headgate_gateway.settings.reading.given import CONFIG_VARIABLE, GivenValue, variable
from headgate_gateway.settings.reading.toml_file import TomlFile, spell
from headgate_gateway.settings.reading.values import Mistaken
from headgate_gateway.text_files import unmarked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from headgate_gateway.settings.reading.values import Place


# The settings that say where the streams are.
STREAMS_ARE: tuple[Place, ...] = (("storage",), ("origin",), ("routes",))


class SettingsError(Exception):
    """The settings cannot be used; `problems` has one sentence for each mistake."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(
    config: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, object],
    *,
    look_at_files: bool = False,
) -> Settings:
    """Return the settings of a file, the environment and flags; later sources take precedence.

    A flag has the name of its setting, with the section before it as in log__level. Raises
    SettingsError with all mistakes. With `look_at_files`, these include the problems of the files
    and folders that the settings name.
    """
    problems: list[SettingProblem] = []
    model, written = _given(config, environment, flags, problems)
    misspelt: set[Place] = set()
    values: dict[Place, GivenValue] = {}
    for one in written:
        if given.setting_at(model, one.place) is None:
            problems.append(mistakes.unknown(model, one, one.place))
            misspelt.add(mistakes.intended_place(model, one.place))
            continue
        earlier = values.get(one.place)
        if earlier is not None and earlier.is_variable and one.is_variable:
            problems += mistakes.given_twice(earlier, one)
        values[one.place] = one
    where = [place for place in STREAMS_ARE if place in values]
    if len(where) > 1:
        named = " and ".join(values[place].subject(place) for place in where)
        sentence = f"{named} exclude each other: give one of them; routes have their own."
        problems.append(SettingProblem(values[where[0]].line(where[0]), sentence))
    is_stored = not any(values[place].value for place in where if place != ("storage",))
    look = Look(is_stored=is_stored) if look_at_files else None
    try:
        settings = model.of(given.nested(values), look)
    except Mistaken as refusal:
        problems += problems_of(model, refusal.mistakes, misspelt, values)
        raise SettingsError(in_order(problems)) from refusal
    unused = tuple(ineffective_settings(settings))
    for found in (*unused, *open_keys(settings)):
        problems.append(mistakes.ineffective(model, found, values))
    if problems:
        raise SettingsError(in_order(problems))
    return settings.with_sources(
        {spell(path): one.where(path) for one in values.values() for path in one.paths()},
        tuple(_outranked(written)),
    )


def _outranked(written: Iterable[GivenValue]) -> Iterator[str]:
    """Yield a sentence for each value that another source replaces."""
    values: dict[Place, GivenValue] = {}
    for one in written:
        if one.place in values:
            subject = values[one.place].subject(one.place)
            yield f"{subject} does not count: {one.where(one.place)} comes first"
        values[one.place] = one


def _given(
    config: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, object],
    problems: list[SettingProblem],
) -> tuple[type[Settings], list[GivenValue]]:
    """Return the model with the sections of the named features, and the values for it."""
    file, in_file = (None, {}) if config is None else _read(config, problems)
    model = model_for(_features_in(environment, in_file))
    written = [] if file is None else given.from_file(model, in_file, file)
    written += given.from_environment(model, environment)
    written += [_of_flag(model, key, value) for key, value in flags.items() if value is not None]
    return model, written


def _features_in(environment: Mapping[str, str], in_file: Mapping[str, object]) -> object:
    """Return the setting `features` as it is written: the other settings depend on it."""
    return environment.get(variable(("features",)), in_file.get("features"))


def feature_kinds(config: Path | None, environment: Mapping[str, str]) -> list[Any]:
    """Return the kinds of the features that are named, whatever is wrong with other settings."""
    _, in_file = (None, {}) if config is None else _read(config, [])
    return [*kinds_named(_features_in(environment, in_file))]


def of_keywords(values: Mapping[str, object]) -> Settings:
    """Return the settings of Python keywords, a dict for each section. Raises SettingsError."""
    model = model_for(values.get("features"))
    try:
        return model.of(dict(values))
    except Mistaken as refusal:
        named: dict[Place, GivenValue] = {
            (key,): GivenValue((key,), value, key) for key, value in values.items()
        }
        raise SettingsError(
            in_order([*problems_of(model, refusal.mistakes, set(), named)])
        ) from refusal


def _read(
    path: Path, problems: list[SettingProblem]
) -> tuple[TomlFile | None, Mapping[str, object]]:
    """Return a file of settings and what it says; add the problem of one that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except OSError as cause:
        named = f"it was named by --config or {CONFIG_VARIABLE}"
        problems.append(SettingProblem(0, f"{path} cannot be read: {cause.strerror}; {named}."))
        return None, {}
    except UnicodeDecodeError as cause:
        problems.append(SettingProblem(0, _not_utf8(path, cause)))
        return None, {}
    import tomllib  # imported only if there is a file

    file = TomlFile(path, text)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as cause:  # a number may be too long, too
        problems.append(
            SettingProblem(*file.no_toml(str(cause), partial(given.setting_at, Settings)))
        )
        return None, {}
    return file, values


def _not_utf8(path: Path, cause: UnicodeDecodeError) -> str:
    """Return the sentence on a file that is not UTF-8."""
    try:
        unmarked(cause.object)
    except ValueError as marked:
        return f"{path} {marked}."
    line = cause.object[: cause.start].count(b"\n") + 1
    return f"{path}:{line}: this is not UTF-8 text, hence not TOML."


def _of_flag(model: type[Settings], key: str, value: object) -> GivenValue:
    place = tuple(key.split("__"))
    name = f"--{'-'.join(place)}".replace("_", "-")
    value = given.from_text(given.setting_at(model, place), value)
    return given.of_variable(model, place, value, name)
