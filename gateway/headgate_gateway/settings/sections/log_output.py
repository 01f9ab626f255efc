"""The settings of what is logged."""

from __future__ import annotations

from headgate_gateway.settings.reading.kinds import LogFormat, LogLevel, RequestLevel
from headgate_gateway.settings.reading.reload_effects import AT_ONCE, FIXED
from headgate_gateway.settings.reading.tables import Section, setting


class LogOutputSettings(Section):
    """The settings of log lines."""

    level: LogLevel = setting(
        "info", description="Least severe level that is logged.", reload=AT_ONCE
    )
    format: LogFormat = setting(
        "auto",
        description="Shape of a log line; auto means console on a terminal, else json.",
        reload=FIXED,
    )
    requests: RequestLevel = setting(
        "debug",
        description="Level at which each request writes one line; off means never.",
        reload=AT_ONCE,
    )
