"""ingress-nginx: the controller for Kubernetes, as it is where a cluster has it already."""

from __future__ import annotations

from headgate_cdn.target import Target, keeps_nothing

TARGETS = (
    Target(
        name="ingress-nginx",
        title="ingress-nginx, in Kubernetes",
        folder="ingress_nginx",
        template="ingress.yaml.j2",
        file_name="headgate-ingress.yaml",
        comment="#",
        clears_forwarded='Forwarded: ""',
        does=(
            "Every request goes to the gateway as it is, and every answer comes back as it is.",
            "Appends of any size go through while they come, also above the 1 MB that the "
            "controller allows by default.",
            "Long-polls and SSE outlive its time-outs, and no event waits in a buffer.",
        ),
        does_not=(
            "It caches and collapses nothing: the gateway's own cache does that.",
            "It takes no made-up Forwarded out before the controller's own ConfigMap names the one "
            "in the file: an annotation cannot.",
            "It is not developed any more: its last release is of March 2026. For a new cluster "
            "take gateway-api.",
        ),
        is_elsewhere=True,
        in_cluster=True,
        **keeps_nothing("it has no cache"),
        no_https="its authorities would be in a Secret or a ConfigMap, for which no rules were "
        "made. Add them to the file yourself, and give --upstream http://SERVICE:PORT",
        state="run",
        checked="Parsed by the schema of Kubernetes. What the controller 1.15 makes of the "
        "annotations is replayed and run by the suite in nginx 1.22; the controller itself was not "
        "run",
    ),
)
