"""Google Cloud's Application Load Balancer in front of gateways, without its CDN."""

from __future__ import annotations

from headgate_cdn.target import Target, keeps_nothing

TARGETS = (
    Target(
        name="google-load-balancer",
        title="Google Cloud Application Load Balancer",
        folder="google_load_balancer",
        template="backend.sh.j2",
        file_name="headgate-google.sh",
        comment="#",
        does=(
            "Every request goes to the gateway, and every answer comes back as it comes, as far as "
            "Google documents it.",
            "No time-out ends a long-poll or SSE: by default it is 30 s for a whole answer.",
        ),
        does_not=(
            "It caches and collapses nothing: Cloud CDN is off, and the gateway's own cache does "
            "that.",
            "It passes on the header Forwarded as clients make it up, unless its URL map takes "
            "that out: the page says how.",
        ),
        is_elsewhere=True,
        **keeps_nothing("Cloud CDN is off"),
        no_https="by default it takes any certificate of its backends. If that is enough, give "
        "--upstream http://HOST:PORT, and change --protocol in the file to HTTPS",
        checked="Written from Google's pages. It was not run at Google",
        checker=("sh", "-n", "{file}"),
    ),
)
