"""The Gateway API of Kubernetes, by which many proxies are configured, Envoy's among them."""

from __future__ import annotations

from headgate_cdn.target import Target, keeps_nothing

TARGETS = (
    Target(
        name="gateway-api",
        title="Gateway API, in Kubernetes",
        folder="gateway_api",
        template="httproute.yaml.j2",
        file_name="headgate-route.yaml",
        comment="#",
        clears_forwarded="- Forwarded",
        does=(
            "Every request goes to the gateway as it is, and every answer comes back as it is.",
            "No answer is ended by a time-out for whole answers, where the implementation knows "
            "such time-outs: they are an extended feature.",
            "It takes a made-up Forwarded out of requests.",
        ),
        does_not=(
            "It caches and collapses nothing: the gateway's own cache does that.",
            "It says nothing of idle time-outs, buffers, limits of connections and encoded "
            "slashes: the Gateway API has no words for them. The page has those of Envoy Gateway.",
        ),
        is_elsewhere=True,
        in_cluster=True,
        **keeps_nothing("it has no cache"),
        no_https="its authorities would be in a Secret or a ConfigMap, for which no rules were "
        "made. Add them to the file yourself, and give --upstream http://SERVICE:PORT",
        state="parsed, not run",
        checked="Parsed by the published schema of the Gateway API, not run: no implementation "
        "has had it",
    ),
)
