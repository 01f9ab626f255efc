"""Every setting, declared once, and loaded from file, environment and flags."""

from __future__ import annotations

from gateway.settings.declared import (
    Declaration,
    Route,
    Settings,
    declarations,
)
from gateway.settings.kinds import Address, LogFormat, LogLevel, RequestLevel, absolute_origin
from gateway.settings.loading import SettingsError, load

__all__ = [
    "Address",
    "Declaration",
    "LogFormat",
    "LogLevel",
    "RequestLevel",
    "Route",
    "Settings",
    "SettingsError",
    "absolute_origin",
    "declarations",
    "load",
]
