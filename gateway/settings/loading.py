"""Load settings from a file, the environment and flags, and report all mistakes at once."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.settings.cross_checks.ineffective_settings import ineffective_settings
from gateway.settings.cross_checks.open_keys import open_keys
from gateway.settings.cross_checks.own_listener import leading_back
from gateway.settings.cross_checks.subscription_logs import mistaken_logs
from gateway.settings.declared import Settings
from gateway.settings.log_kinds import KINDS
from gateway.settings.reading.files import Look
from gateway.settings.reading.toml_file import TomlFile, spell
from gateway.settings.reading.values import REQUIRED, Mistaken
from gateway.settings.route import Route
from gateway.settings.setting_descriptions import (
    ENVIRONMENT_PREFIX,
    allowed,
    describe_settings,
    hint,
    variable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.settings.reading.tables import Table
    from gateway.settings.reading.values import Mistake, Place

# The command line reads it to find the file, so it is no setting.
CONFIG_VARIABLE = "HEADGATE_CONFIG"
# Variables that Kubernetes sets in every container if a Service is called "headgate".
SERVICE_LINK = re.compile(
    r"HEADGATE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)"
)
# Settings whose defaults may conflict with the given value of another one.
DEPENDS_ON = {
    "admin": ("listen",),
    "auth": ("front", "listen"),
    "max_pending_appends": ("max_append",),
}
# Tables with secrets, and their keys whose refused values may be shown: the value of any other key
# may be a misplaced secret.
SECRET_TABLES = {"admin_users", "admin_tokens", "purges"}
SHOWN_OF_SECRETS = {"name", "role", "kind", "url", "host"}
SHOWN_CHARACTERS = 240  # of a refused value
AFTER_THE_FILE = 1 << 62  # the line by which mistakes of variables and flags are sorted


class SettingsError(Exception):
    """The settings cannot be used; `problems` has one sentence for each mistake."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class _Problem:
    """A mistake in a sentence, and the line of the file by which mistakes are sorted."""

    line: int
    sentence: str


@dataclass(frozen=True, slots=True)
class _SourcedValue:
    """The value of a setting and its source: a file, or the name of a variable or flag."""

    value: object
    source: TomlFile | str

    def line(self, path: tuple[str | int, ...]) -> int:
        """Return the line in the file; AFTER_THE_FILE for another source."""
        return AFTER_THE_FILE if isinstance(self.source, str) else self.source.line(path) or 0

    def subject(self, path: tuple[str | int, ...]) -> str:
        """Return how to name the setting, or its part at `path`, in a message."""
        if isinstance(self.source, str):
            return self.source + spell(path[1:])
        return f"{self.where(path)}: {spell(path)}"

    def where(self, path: tuple[str | int, ...]) -> str:
        """Return the place of the value: FILE:LINE, a variable or a flag."""
        return self.source if isinstance(self.source, str) else self.source.position(path)

    def at(self, path: tuple[str | int, ...], otherwise: object) -> object:
        """Return the value at `path` as it was written, or `otherwise` if there is none.

        A text that stands for a list has no parts.
        """
        value = self.value
        for step in path[1:]:
            if not isinstance(value, list | dict):
                return otherwise
            try:
                value = value[step]  # type: ignore[index] # a number or a key
            except LookupError:
                return otherwise
        return value


def load(
    config: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, object],
    *,
    look_at_files: bool = False,
) -> Settings:
    """Return the settings of a file, the environment and flags; later sources take precedence.

    Raises SettingsError with all mistakes. With `look_at_files`, these include the problems of the
    files and folders that the settings name.
    """
    problems: list[_Problem] = []
    values = _from_file(config, problems) if config is not None else {}
    values |= _from_environment(environment, problems)
    values |= {
        key: _SourcedValue(_read(key, value), _flag(key))
        for key, value in flags.items()
        if value is not None
    }
    misspelt: set[Place] = {(it,) for it in (_intended_key(key, Settings) for key in values) if it}
    for key in [key for key in values if key not in Settings.settings]:
        item = values.pop(key)
        subject = item.subject((key,))
        sentence = _unknown(subject, key, Settings, _flag if subject.startswith("--") else str)
        if isinstance(item.value, dict) and item.value.keys() & Settings.settings.keys():
            sentence = f"{sentence[:-1]}: what is in it stands by itself, before all tables."
        problems.append(_Problem(item.line((key,)), sentence))
    if {"origin", "routes"} <= values.keys():
        both = " and ".join(values[key].subject((key,)) for key in ("origin", "routes"))
        sentence = f"{both} exclude each other: give a route for each origin, or one origin."
        problems.append(_Problem(values["origin"].line(("origin",)), sentence))
    try:
        settings = Settings.of(
            {key: item.value for key, item in values.items()},
            Look(only_route="routes" not in values) if look_at_files else None,
        )
    except Mistaken as refusal:
        problems += _problems_of(refusal.mistakes, misspelt, values)
        raise SettingsError(_in_order(problems)) from refusal
    led_back = leading_back(settings) if look_at_files else ()
    unused = (*ineffective_settings(settings), *mistaken_logs(settings))
    for found in (*unused, *open_keys(settings), *led_back):
        item = values[str(found.path[0])]
        sentence = f"{item.subject(found.path)} is {_show(found.value)}, but {found.must}."
        problems.append(_Problem(item.line(found.path), sentence))
    if problems:
        raise SettingsError(_in_order(problems))
    return settings.with_sources(_sources(values))


def of_keywords(values: Mapping[str, object]) -> Settings:
    """Return the settings of Python keywords. Raises SettingsError."""
    try:
        return Settings.of(dict(values))
    except Mistaken as refusal:
        named = {key: _SourcedValue(value, key) for key, value in values.items()}
        problems = [*_problems_of(refusal.mistakes, set(), named)]
        raise SettingsError(_in_order(problems)) from refusal


def _problems_of(
    mistakes: Sequence[Mistake], misspelt: set[Place], values: Mapping[str, _SourcedValue]
) -> Iterator[_Problem]:
    """Yield the mistakes as problems, without those that follow from a misspelt key."""
    intended = misspelt | _misspelt(mistakes)
    for mistake in mistakes:
        if mistake.place not in intended or _has_value(mistake.place, values):
            yield _problem(mistake, values)


def _misspelt(mistakes: Sequence[Mistake]) -> set[Place]:
    """Return the places of the settings that unknown keys of tables were probably intended for."""
    found: set[Place] = set()
    for mistake in mistakes:
        if mistake.kind == "unknown":
            model, _ = _table_around(mistake.place)
            intended = _intended_key(str(mistake.place[-1]), model)
            found |= {(*mistake.place[:-1], intended)} if intended else set()
    return found


def _has_value(place: Place, values: Mapping[str, _SourcedValue]) -> bool:
    item = values.get(str(place[0]))
    return item is not None and item.at(place, REQUIRED) is not REQUIRED


def _sources(values: Mapping[str, _SourcedValue]) -> dict[str, str]:
    """Return the source of each value, also of those inside tables."""
    sources = {}
    for key, item in values.items():
        sources[key] = item.where((key,))
        for index, table in enumerate(item.value if isinstance(item.value, list) else ()):
            for inner in table if isinstance(table, dict) else ():
                path = (key, index, inner)
                sources[spell(path)] = item.where(path)
    return sources


def _in_order(problems: list[_Problem]) -> tuple[str, ...]:
    return tuple(problem.sentence for problem in sorted(problems, key=lambda it: it.line))


def _from_file(path: Path, problems: list[_Problem]) -> dict[str, _SourcedValue]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except OSError as cause:
        named = f"it was named by --config or {CONFIG_VARIABLE}"
        problems.append(_Problem(0, f"{path} cannot be read: {cause.strerror}; {named}."))
        return {}
    except UnicodeDecodeError as cause:
        line = cause.object[: cause.start].count(b"\n") + 1
        problems.append(_Problem(0, f"{path}:{line}: this is not UTF-8 text, hence not TOML."))
        return {}
    import tomllib  # imported only if there is a file

    file = TomlFile(path, text)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        problems.append(_Problem(*file.no_toml(str(cause))))
        return {}
    return {key: _SourcedValue(value, file) for key, value in values.items()}


def _from_environment(
    environment: Mapping[str, str], problems: list[_Problem]
) -> dict[str, _SourcedValue]:
    values = {}
    known = {variable(key): key for key in Settings.settings}
    for name in sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX)):
        if name in known:
            values[known[name]] = _SourcedValue(_read(known[name], environment[name]), name)
        elif name != CONFIG_VARIABLE and not SERVICE_LINK.fullmatch(name):
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
            problems.append(_Problem(AFTER_THE_FILE, _unknown(name, key, Settings, variable)))
    return values


def _read(key: str, value: object) -> object:
    """Parse the number of a numeric setting: the environment and flags have only texts."""
    field = Settings.settings.get(key)
    if field is not None and isinstance(value, str):
        with contextlib.suppress(ValueError):
            if field.type is int:
                return int(value)
            if field.type is float:
                return float(value)
    return value


def _problem(mistake: Mistake, values: Mapping[str, _SourcedValue]) -> _Problem:
    """Return a mistake as a sentence with its line."""
    path = mistake.place
    key = str(path[0])
    item = values.get(key)
    if item is not None:
        value_text = _show(item.at(path, mistake.value))
        if key in SECRET_TABLES and path[-1] not in SHOWN_OF_SECRETS:
            value_text = "not shown here"
        sentence = _sentence(mistake, item.subject(path), value_text)
        is_array = key in Settings.settings and Settings.settings[key].table is not None
        if path == (key,) and is_array and isinstance(item.value, dict):
            sentence = f"{sentence[:-1]}; each begins with [[{key}]]."
        return _Problem(item.line(path), sentence)
    default = next(it.default for it in describe_settings() if it.key == key)
    value_text = f"{default} unless it is given"
    if key == "auth":  # its default is an empty list, which cannot be written
        value_text = "not given"
    if key not in DEPENDS_ON:  # the default itself is wrong, such as a missing folder
        return _Problem(AFTER_THE_FILE, _sentence(mistake, key, value_text))
    # The default conflicts with another setting.
    cause = next(one for one in DEPENDS_ON[key] if one in values)
    subject = f"{values[cause].where((cause,))}: {key}"
    return _Problem(values[cause].line((cause,)), _sentence(mistake, subject, value_text))


def _sentence(mistake: Mistake, subject: str, value_text: str) -> str:
    model, kind = _table_around(mistake.place)
    key = str(mistake.place[-1])
    if mistake.kind == "unknown":
        return _unknown(subject, key, model, str)
    must, suggestion = f"must be {kind}", ""
    if key in model.settings:
        field = model.settings[key]
        must, suggestion = f"must be {allowed(field)}", hint(field, mistake.value)
    if mistake.kind == "missing":
        return f"{subject} is missing; it {must}."
    if mistake.must and mistake.must != must.partition(", from ")[0]:  # says more than `allowed`
        must, suggestion = mistake.must, ""
    return f"{subject} is {value_text}, but {must}{suggestion}."


def _table_around(path: tuple[str | int, ...]) -> tuple[type[Table], str]:
    """Return the class of the table that a path leads into, and what one is in words."""
    model: type[Table] = Settings
    kind = ""
    for step in path[:-1]:
        field = model.settings.get(str(step))
        if field is not None and field.table is not None:
            model, kind = field.table, allowed(field).replace("an array of tables, each", "a table")
    return model, kind


def _unknown(subject: str, key: str, model: type[Table], spell: Callable[[str], str]) -> str:
    if model is Settings and key in Route.settings:
        return f"{subject} is a setting of a route: give it in [[routes]], with the origin."
    if model is Route and key in Settings.settings:
        return f"{subject} is no setting of a route: give it before all of the routes."
    return f"{subject} is not a setting{_nearest(key, model, spell)}."


def _nearest(key: str, model: type[Table], spell: Callable[[str], str]) -> str:
    """Return words that name the setting that was probably intended, or ""."""
    intended = _intended_key(key, model)
    return f"; the nearest is {spell(intended)}" if intended else ""


def _intended_key(key: str, model: type[Table]) -> str:
    """Return the setting that an unknown key was probably intended for, or ""."""
    if key in model.settings:
        return ""
    import difflib  # imported only for a mistake

    return next(iter(difflib.get_close_matches(key, model.settings, n=1)), "")


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _show(value: object) -> str:
    """Return a value as it may be printed: shortened, and without passwords in URLs."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    # A backslash and the next character are one: an escaped quote may be part of a password.
    text = re.sub(r"//(?:[^\"\\]|\\.)*@", "//***@", text)
    # The value of an unknown key in the query may be a password.
    for kind in KINDS.values():
        if kind.open_keys and kind.name in text:
            hidden = rf"([?&](?!(?:{'|'.join(kind.open_keys)})=)[^=&\"]*=)(?:[^&\"\\]|\\.)*"
            text = re.sub(hidden, r"\1***", text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
