"""Lists of a route's streams for its clients."""

from __future__ import annotations

from headgate_gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(
    name="listing",
    is_wanted=lambda route: route.listing == "on",
    of_log="headgate_gateway.features.listing:ListedStreams",
)
