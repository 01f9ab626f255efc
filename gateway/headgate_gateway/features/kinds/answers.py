"""Routes that write the answers of other servers into streams: to models, and proxies."""

from __future__ import annotations

from headgate_gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(
    name="answers",
    # Its client of other servers.
    routes="headgate_gateway.features.proxies.completion_routes:CompletionRoutes",
    has_routes=lambda settings: bool(settings.written),
)
