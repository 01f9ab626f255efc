"""Rules on the sentinels or the cluster around a Redis: whether they can do their part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.tools.redis_doctor.facts import RedisFinding, Topic
from headgate_gateway.tools.shell.amounts import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headgate_gateway.tools.redis_doctor.facts import ClusterFacts, SentinelFacts

FEWEST = 3
SLOTS = 16384


def sentinels(views: Sequence[SentinelFacts]) -> Iterator[RedisFinding]:
    """Yield the findings on whether sentinels can agree on another primary."""
    about = Topic("sentinels")
    well = [view for view in views if view.why_unhealthy is None]
    for view in views:
        if view.why_unhealthy is not None:
            yield about.warning(f"{view.address}: {view.why_unhealthy}.")
        elif view.why_no_quorum is not None:
            yield about.error(
                f"{view.address}: {view.why_no_quorum}: nothing would replace a failed primary.",
            )
    known = max((int(view.fields["num-other-sentinels"]) + 1 for view in well), default=0)
    if known < FEWEST:
        yield about.warning(
            f"{counted(known, 'sentinel')}: the loss of one leaves too few to agree on a failover.",
            "Run three, on machines that do not fail together.",
        )
    elif len(well) == len(views) and all(view.why_no_quorum is None for view in views):
        yield about.ok(
            f"{counted(known, 'sentinel')} know the service, and can agree on a failover.",
        )
    if 0 < len(views) < min(known, 2):
        yield about.note(
            "The URL names one sentinel: while that one is away a gateway finds no primary.",
            "Name all of them.",
        )


def cluster(view: ClusterFacts, silent: Sequence[str]) -> Iterator[RedisFinding]:
    """Yield the findings on whether each slot is served, and would be after a loss."""
    about = Topic("cluster")
    for why_unhealthy in silent:
        yield about.error(f"A primary cannot be asked, {why_unhealthy}.")
    state = view.info.get("cluster_state")
    served = int(view.info.get("cluster_slots_ok", 0))
    if state != "ok":
        yield about.error(
            f"The cluster is {state}, {served:,} of {SLOTS:,} slots are served: appends and reads "
            "of the others get 503, and with cluster-require-full-coverage yes those of all.",
        )
    else:
        yield about.ok(
            f"All {SLOTS:,} slots are served by {counted(len(view.replicas), 'primary node')}."
        )
    alone = [address for address, replicas in view.replicas.items() if replicas == 0]
    if alone:
        yield about.warning(
            f"Without a replica: {', '.join(alone)}. Nothing takes the place of such a primary "
            "when it dies.",
            "Add a replica to each primary.",
        )
    if 0 < len(view.replicas) < FEWEST:
        yield about.warning(
            f"{counted(len(view.replicas), 'primary node')}: a failover takes the votes of most "
            "primaries, of which at least three are needed.",
        )
