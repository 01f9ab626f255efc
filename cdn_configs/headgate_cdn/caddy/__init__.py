"""Caddy: a proxy with automatic TLS in front of gateways, which caches and collapses nothing."""

from __future__ import annotations

from headgate_cdn.target import Target, keeps_nothing

TARGETS = (
    Target(
        name="caddy",
        title="Caddy, for TLS",
        folder="caddy",
        template="Caddyfile.j2",
        file_name="Caddyfile",
        comment="#",
        clears_forwarded="header_up -Forwarded",
        does=(
            "It speaks TLS for the host name, with certificates that it gets itself.",
            "Every request goes to the gateway as it is, and every answer comes back as it is.",
            "SSE comes through unbuffered.",
            "History that everybody may read is sent with gzip.",
            "While the gateway is away it holds requests for events for up to 30 s.",
        ),
        does_not=(
            "It caches nothing: the Caddy that everybody has is without a cache.",
            "It collapses nothing: the gateway's own cache does that.",
        ),
        abilities=frozenset({"compresses"}),
        can_stand_alone=True,
        balances=True,
        **keeps_nothing("it has no cache"),
        state="run",
        checked="caddy validate, and the suite of real engines with Caddy 2.6",
        checker=("caddy", "validate", "--adapter", "caddyfile", "--config", "{file}"),
    ),
)
