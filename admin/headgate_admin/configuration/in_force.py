"""The settings in effect, each with where it came from, and without secrets."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from headgate_gateway.settings import Settings, describe_settings, redacted_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings import SettingDescription
    from headgate_gateway.settings.reading.tables import Table

DEFAULT = "default"
_PLACES = frozenset({"origin", "subscriptions", "storage"})  # of logs, shown without passwords


class SettingView(msgspec.Struct, frozen=True):
    """A setting in effect."""

    key: str
    value: str  # secrets masked
    default: str
    source: str  # default, a file and its line, a variable, an option
    help: str
    differs: bool  # from its default
    in_force: str = ""  # what counts in place of the value, which the open-file limit lowers


class Configuration(msgspec.Struct, frozen=True):
    """The settings in effect; what differs from its default first."""

    settings: tuple[SettingView, ...]


def configuration(settings: Settings) -> Configuration:
    """Return every setting: first those that differ from their default, then the others."""
    views = [*_views(settings)]
    return Configuration(tuple(sorted(views, key=lambda view: not view.differs)))


def _views(settings: Settings) -> Iterator[SettingView]:
    sources = settings.sources
    lowered = settings.limits.by_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for declared, one in describe_settings(type(settings)):
        path = declared.path
        if one.table is None:
            above, _, _ = path.rpartition(".")
            view = _view(settings.value_at(above), declared, path, sources.get(path))
            number = f"{lowered.get(path, view.value)}"
            yield view if number == view.value else replace(view, in_force=number)
            continue
        tables = settings.value_at(path)
        if not tables:
            yield SettingView(path, "[]", "[]", DEFAULT, declared.help, differs=False)
        for index, table in enumerate(tables):
            for inner, _ in describe_settings(one.table, (*path.split("."), index)):
                is_explicit = inner.key in table.explicit_keys
                given = sources.get(inner.path) or sources.get(path, "") if is_explicit else None
                yield _view(table, inner, inner.path, given)


def _view(of: Table, declared: SettingDescription, path: str, source: str | None) -> SettingView:
    value = shown_value(of, declared.key)
    default = _origin(declared.default) if declared.key in _PLACES else declared.default
    # What an environment variable gives may be the default all the same.
    return SettingView(
        path, value, default, source or DEFAULT, declared.help, differs=value != default
    )


def shown_value(of: Table, key: str) -> str:
    """Return a value as the documentation writes defaults."""
    value = of.settings[key].plain(getattr(of, key))
    if key in _PLACES and value:
        return _origin(str(value))
    if isinstance(value, float):
        return f"{value:g}"
    return value if value and isinstance(value, str) else json.dumps(value)


def _origin(origin: str) -> str:
    """Return an origin without its secrets, "" for none."""
    return redacted_origin(origin) if origin else origin
