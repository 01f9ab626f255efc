"""The settings of the gateway, loaded from file, environment and flags."""

from __future__ import annotations

from headgate.hosts import is_loopback

from gateway.settings.arrays.access import AdminToken, AdminUser, Role
from gateway.settings.arrays.jwt_issuers import JwtIssuer
from gateway.settings.arrays.model_route import ModelSettings
from gateway.settings.arrays.proxy_route import ProxySettings
from gateway.settings.arrays.purged_cache import PurgedCache
from gateway.settings.declared import Settings
from gateway.settings.loading import SettingsError, load
from gateway.settings.reading.given import variable
from gateway.settings.reading.kinds import (
    Address,
    LogFormat,
    LogLevel,
    RequestLevel,
    redacted_origin,
)
from gateway.settings.route import Route
from gateway.settings.sections.tls import TlsFiles
from gateway.settings.setting_descriptions import SettingDescription, describe_settings

__all__ = [
    "Address",
    "AdminToken",
    "AdminUser",
    "JwtIssuer",
    "LogFormat",
    "LogLevel",
    "ModelSettings",
    "ProxySettings",
    "PurgedCache",
    "RequestLevel",
    "Role",
    "Route",
    "SettingDescription",
    "Settings",
    "SettingsError",
    "TlsFiles",
    "describe_settings",
    "is_loopback",
    "load",
    "redacted_origin",
    "variable",
]
