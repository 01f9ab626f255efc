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


class About(msgspec.Struct, frozen=True):
    """Versions, file formats, limits of the process."""

    versions: dict[str, str]
    formats: dict[str, str]
    limits: dict[str, str]
