"""nginx: a cache that collapses equal reads, on the operator's own machines."""

from __future__ import annotations

from cdn_configs.target import Target

TARGETS = (
    Target(
        name="nginx",
        title="nginx",
        folder="nginx",
        template="nginx.conf.j2",
        file_name="headgate.conf",
        comment="#",
        does=(),
        does_not=(),
        abilities=frozenset({"caches", "collapses", "sorts-query", "stale", "conditional"}),
        can_stand_alone=True,
        no_per_credential="stock nginx cannot hash a credential, and would write it to its cache "
        "in clear; nginx-njs can",
        checker=("nginx", "-t", "-p", "{folder}", "-c", "{file}"),
    ),
)
