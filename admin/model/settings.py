"""The settings in effect, and what runs here."""

from __future__ import annotations

import msgspec


class SettingView(msgspec.Struct, frozen=True):
    """A setting in effect."""

    key: str
    value: str  # secrets masked
    default: str
    source: str  # default, a file and its line, a variable, an option
    help: str
    differs: bool  # from its default


class Configuration(msgspec.Struct, frozen=True):
    """The settings in effect; what differs from its default first."""

    settings: tuple[SettingView, ...]


class PendingChange(msgspec.Struct, frozen=True):
    """A setting whose value in force is another one than the settings are written with now."""

    key: str
    table: str  # what identifies its table, such as the prefix of a route; empty outside tables
    current: str | None  # in force, secrets masked; None where the table is added
    written: str | None  # secrets masked; None where the table is removed
    source: str  # of the written value: default, a file and its line, a variable, an option
    reload: str  # what a reload does with it
    needs_restart: bool  # and so the whole reload is refused


class RoutePlan(msgspec.Struct, frozen=True):
    """A route that a reload touches, and what becomes of it."""

    prefix: str
    outcome: str


class WatchedFileState(msgspec.Struct, frozen=True):
    """A file of tokens, keys or certificates, which is read again by itself when it changes."""

    setting: str
    path: str
    problem: str | None  # why its present contents are not in force


class PendingConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """The settings as they are written now, compared with those in force.

    With `problems` the written ones are invalid, and nothing else is known of them. A reload that
    has `refusals` changes nothing.
    """

    read_at: float  # epoch seconds
    file: str | None
    problems: tuple[str, ...] = ()
    changes: tuple[PendingChange, ...] = ()  # the first of them
    changes_in_all: int = 0
    routes: tuple[RoutePlan, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # of what a reload would put in force
    files: tuple[WatchedFileState, ...] = ()


class ReloadDone(msgspec.Struct, frozen=True):
    """The routes in force after a reload; sentences on folders in which streams are missing now."""

    routes: tuple[str, ...]
    warnings: tuple[str, ...]


class About(msgspec.Struct, frozen=True):
    """Versions, file formats, limits of the process."""

    versions: dict[str, str]
    formats: dict[str, str]
    limits: dict[str, str]
