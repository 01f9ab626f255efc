"""The settings of the gateway, loaded from file, environment and flags."""

from __future__ import annotations

from headgate.hosts import is_loopback
from headgate_gateway.settings.arrays.access import AdminToken, AdminUser, Role
from headgate_gateway.settings.arrays.jwt_issuers import JwtIssuer
from headgate_gateway.settings.arrays.model_route import ModelSettings
from headgate_gateway.settings.arrays.proxy_route import ProxySettings
from headgate_gateway.settings.arrays.purged_cache import PurgedCache
from headgate_gateway.settings.declared import Settings
from headgate_gateway.settings.loading import SettingsError, load
from headgate_gateway.settings.reading.given import variable
from headgate_gateway.settings.reading.kinds import (
    Address,
    LogFormat,
    LogLevel,
    RequestLevel,
    redacted_origin,
)
from headgate_gateway.settings.route import Route
from headgate_gateway.settings.sections.tls import TlsFiles
from headgate_gateway.settings.setting_descriptions import SettingDescription, describe_settings

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
