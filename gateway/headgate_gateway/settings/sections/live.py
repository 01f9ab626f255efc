"""The settings of live reads."""

from __future__ import annotations

from headgate_gateway.settings.reading.kinds import Seconds
from headgate_gateway.settings.reading.tables import Section, setting
from headgate_gateway.settings.reading.units import DAY_S, HOUR_S


class LiveSettings(Section):
    """The settings of long-polls and SSE responses."""

    long_poll_timeout: Seconds = setting(
        20.0,
        ge=0.1,
        le=300,
        description="How long a long-poll at the tail waits for data.",
        reload="yes, for polls that begin then",
    )
    # So that an edge can end silent SSE within 15 s.
    sse_heartbeat: Seconds = setting(
        12.0,
        ge=0.1,
        le=HOUR_S,
        description="How often an idle SSE response gets a comment, so that proxies keep the "
        "connection open.",
        reload="yes, for open responses too",
    )
    # Clients stop using SSE after a few connections that end within their first second.
    sse_max_age: Seconds = setting(
        60.0,
        ge=1,
        le=DAY_S,
        description="How long an SSE response lasts before the client has to reconnect.",
        reload="yes, for responses that begin then",
    )
