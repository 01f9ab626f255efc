"""HAProxy: a load balancer in front of gateways, which caches and collapses nothing."""

from __future__ import annotations

from headgate_cdn.target import Target, keeps_nothing

TARGETS = (
    Target(
        name="haproxy",
        title="HAProxy, as a load balancer",
        folder="haproxy",
        template="haproxy.cfg.j2",
        file_name="haproxy.cfg",
        comment="#",
        clears_forwarded="http-request del-header Forwarded",
        does=(
            "Every request goes to the gateway as it is, and every answer comes back as it is.",
            "The first event of SSE comes at once.",
            "History that everybody may read is sent with gzip.",
            "Long-polls and SSE outlive its time-outs.",
            "While the gateway is away it holds requests for events for up to 30 s.",
        ),
        does_not=(
            "It caches nothing: its cache collapses no requests, and gave one reader's answer to "
            "others.",
            "It collapses nothing: the gateway's own cache does that.",
        ),
        needs_host=False,
        abilities=frozenset({"compresses"}),
        can_stand_alone=True,
        balances=True,
        **keeps_nothing("it has no cache"),
        state="run",
        checked="haproxy -c, and the suite of real engines with HAProxy 2.6",
        checker=("haproxy", "-c", "-q", "-f", "{file}"),
    ),
)
