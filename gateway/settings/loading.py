"""Settings from a file, the environment and flags, with every mistake told at once."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from gateway.settings.declared import ENVIRONMENT_PREFIX, Route, Settings, allowed, variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

# Read by the command line itself, hence no setting.
CONFIG_VARIABLE = "HEADGATE_CONFIG"
# What Kubernetes puts into every container when a Service is called "headgate".
SERVICE_LINK = re.compile(
    r"HEADGATE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)"
)
SHOWN_CHARACTERS = 80


class SettingsError(Exception):
    """The settings cannot be used; `problems` has one sentence for each mistake."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class _Given:
    """A value with the words that tell where it came from."""

    value: object
    source: _TomlFile | str

    def subject(self, path: tuple[str | int, ...]) -> str:
        """The setting, or the part of it at `path`, as its author wrote it."""
        if isinstance(self.source, str):
            return self.source + _spell(path[1:])
        return f"{self.source.position(path)}: {_spell(path)}"


@dataclass(frozen=True, slots=True)
class _TomlFile:
    """A configuration file whose text tells the lines of its keys."""

    path: Path
    text: str

    def position(self, path: tuple[str | int, ...]) -> str:
        """`FILE:LINE`, or `FILE` alone where the line cannot be told."""
        spots = tuple(self._spots())
        # A key that is missing is told by the line of its table.
        for length in range(len(path), 0, -1):
            for spot, line in spots:
                if spot[:length] == path[:length]:
                    return f"{self.path}:{line}"
        return str(self.path)

    def _spots(self) -> Iterator[tuple[tuple[str | int, ...], int]]:
        """Each key and table header with its line; tomllib itself tells none."""
        table: tuple[str | int, ...] = ()
        headers: Counter[str] = Counter()
        for number, line in enumerate(self.text.splitlines(), start=1):
            if match := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
                table = (match[1], headers[match[1]])
                headers[match[1]] += 1
                yield table, number
            elif match := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
                table = (match[1],)
                yield table, number
            elif match := re.match(r"\s*(?:\"([^\"]+)\"|'([^']+)'|([\w-]+))\s*[=.]", line):
                yield (*table, match[1] or match[2] or match[3]), number


def load(
    config: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]
) -> Settings:
    """The settings of a file, the environment and flags, each over the one before it.

    Raises SettingsError with every problem there is.
    """
    problems: list[str] = []
    given = _from_file(config, problems) if config is not None else {}
    given |= _from_environment(environment, problems)
    given |= {key: _Given(value, _flag(key)) for key, value in flags.items() if value is not None}
    for key in [key for key in given if key not in Settings.model_fields]:
        problems.append(_unknown(given.pop(key).subject((key,)), key, Settings))
    if {"origin", "routes"} <= given.keys():
        both = " and ".join(given[key].subject((key,)) for key in ("origin", "routes"))
        problems.append(f"{both} exclude each other: give a route for each origin, or one origin.")
    try:
        settings = Settings.model_validate({key: item.value for key, item in given.items()})
    except ValidationError as refusal:
        errors = refusal.errors(include_url=False)
        problems += [_problem(error, given) for error in errors]
        raise SettingsError(tuple(problems)) from refusal
    if problems:
        raise SettingsError(tuple(problems))
    return settings


def _from_file(path: Path, problems: list[str]) -> dict[str, _Given]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as cause:
        problems.append(f"{path} cannot be read: {cause.strerror}.")
    except UnicodeDecodeError:
        problems.append(f"{path} is not UTF-8 text, hence not TOML.")
    except tomllib.TOMLDecodeError as cause:
        problems.append(f"{path} is not TOML: {cause}.")
    else:
        return {key: _Given(value, _TomlFile(path, text)) for key, value in values.items()}
    return {}


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, _Given]:
    given = {}
    known = {variable(key): key for key in Settings.model_fields}
    for name in sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX)):
        if name in known:
            given[known[name]] = _Given(environment[name], name)
        elif name != CONFIG_VARIABLE and not SERVICE_LINK.fullmatch(name):
            problems.append(f"{name} is not a setting; the nearest is {_nearest(name, known)}.")
    return given


def _problem(error: ErrorDetails, given: Mapping[str, _Given]) -> str:
    """One sentence for one of pydantic's errors."""
    path = error["loc"]
    model: type[BaseModel] = Settings if len(path) == 1 or path[0] != "routes" else Route
    key = str(path[0] if model is Settings else path[-1])
    item = given.get(str(path[0]))
    # Without a value given, a default clashes with another setting.
    subject = item.subject(path) if item else _spell(path)
    if error["type"] == "extra_forbidden":
        return _unknown(subject, key, model)
    field = model.model_fields.get(key, Settings.model_fields["routes"])
    must = f"must be {allowed(field)}"
    if error["type"] == "missing":
        return f"{subject} is missing; it {must}."
    if error["type"] == "value_error":
        must = str(error["ctx"]["error"])
    return f"{subject} is {_show(error['input'])}, but {must}."


def _unknown(subject: str, key: str, model: type[BaseModel]) -> str:
    nearest = _nearest(key, model.model_fields)
    subject_nearest = _flag(nearest) if subject.startswith("--") else nearest
    return f"{subject} is not a setting; the nearest is {subject_nearest}."


def _nearest(name: str, known: Mapping[str, object]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _spell(path: tuple[str | int, ...]) -> str:
    spelled = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return spelled.removeprefix(".")


def _show(value: object) -> str:
    """The value as it may be printed: short, and without the password of a URL."""
    shown = re.sub(r"//[^\s\"]*@", "//***@", json.dumps(value, ensure_ascii=False, default=str))
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
