"""Traefik: a proxy with automatic TLS in front of gateways, which caches and collapses nothing."""

from __future__ import annotations

from headgate_cdn.target import Target, keeps_nothing

TARGETS = (
    Target(
        name="traefik",
        title="Traefik, for TLS",
        folder="traefik",
        template="traefik.yaml.j2",
        file_name="headgate.yaml",
        comment="#",
        clears_forwarded='Forwarded: ""',
        does=(
            "Every request goes to the gateway as it is, and every answer comes back as it is.",
            "SSE comes through unbuffered, and bodies go through while they come.",
            "Long-polls outlive its time-outs towards the gateway.",
        ),
        does_not=(
            "It caches and collapses nothing: the gateway's own cache does that.",
            "It cannot set the time-out of its entry point for requests: set that in Traefik's "
            "own configuration, as the page says.",
        ),
        can_stand_alone=True,
        balances=True,
        **keeps_nothing("it has no cache"),
        state="run",
        checked="the suite of real engines with Traefik 3.7, and Traefik's published types",
    ),
)
