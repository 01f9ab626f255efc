"""Warnings, at the start and at each reload, of settings that are valid and dangerous."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.cross_checks.dangerous_settings import dangers
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.settings import Settings


def log_dangers(settings: Settings) -> None:
    """Log a warning for each dangerous setting, as `headgate check` prints it."""
    for danger in dangers(settings):
        log.warning("settings.dangerous", what=danger)
