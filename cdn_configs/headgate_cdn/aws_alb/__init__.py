"""AWS's Application Load Balancer in front of gateways, which caches and collapses nothing."""

from __future__ import annotations

from headgate_cdn.target import Target, keeps_nothing

TARGETS = (
    Target(
        name="aws-alb",
        title="AWS Application Load Balancer",
        folder="aws_alb",
        template="attributes.sh.j2",
        file_name="headgate-alb.sh",
        comment="#",
        does=(
            "Every request goes to the gateway, and every answer comes back as it comes, as far as "
            "AWS documents it.",
            "Long-polls and SSE outlive its idle time-out, which any byte begins again.",
        ),
        does_not=(
            "It caches and collapses nothing: the gateway's own cache does that.",
            "It passes on the header Forwarded as clients make it up: it takes no request header "
            "out.",
        ),
        is_elsewhere=True,
        **keeps_nothing("it has no cache"),
        no_https="it takes any certificate of its targets. If that is enough, give --upstream "
        "http://HOST:PORT, and make the target group for HTTPS",
        longest_poll_s=3955,
        longest_poll_reason="its idle time-out is at most 4,000 s, of which 45 s are to spare",
        longest_heartbeat_s=1333,
        longest_heartbeat_reason="its idle time-out is at most 4,000 s, in which two may be lost",
        checked="Its attributes are those of the service model that AWS publishes. It was not run "
        "at AWS",
        checker=("sh", "-n", "{file}"),
    ),
)
