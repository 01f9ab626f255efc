"""Every setting, declared once, and loaded from file, environment and flags."""

from __future__ import annotations

from gateway.settings.declared import (
    Declaration,
    Settings,
    declarations,
)
from gateway.settings.kinds import Address, LogFormat, LogLevel, RequestLevel, shown_origin
from gateway.settings.loading import SettingsError, load
from gateway.settings.redis_origin import RedisOrigin, parse_redis
from gateway.settings.route import Route

__all__ = [
    "Address",
    "Declaration",
    "LogFormat",
    "LogLevel",
    "RedisOrigin",
    "RequestLevel",
    "Route",
    "Settings",
    "SettingsError",
    "declarations",
    "load",
    "parse_redis",
    "shown_origin",
]
