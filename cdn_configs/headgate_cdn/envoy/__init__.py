"""Envoy: a proxy in front of gateways, which caches and collapses nothing."""

from __future__ import annotations

from headgate_cdn.target import Target, keeps_nothing

TARGETS = (
    Target(
        name="envoy",
        title="Envoy, as a load balancer",
        folder="envoy",
        template="envoy.yaml.j2",
        file_name="envoy.yaml",
        comment="#",
        clears_forwarded="- forwarded",
        does=(
            "Every request goes to the gateway as it is, and every answer comes back as it is.",
            "SSE comes through unbuffered, and bodies go through while they come.",
            "Long-polls and SSE outlive its time-outs: by default Envoy ends each answer after "
            "15 s.",
            "While the gateway is away it has each EventSource reconnect.",
            "As many readers wait as there are connections: by default Envoy refuses those above "
            "1,024.",
        ),
        does_not=(
            "It caches nothing: its cache filter is an experiment of its vendor's.",
            "It collapses nothing: the gateway's own cache does that.",
        ),
        needs_host=False,
        can_stand_alone=True,
        balances=True,
        **keeps_nothing("it has no cache"),
        state="run",
        checked="envoy --mode validate, and the suite of real engines with Envoy 1.40",
        checker=("envoy", "--mode", "validate", "-l", "error", "-c", "{file}"),
    ),
)
