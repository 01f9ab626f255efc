"""Routes that write the answers of other servers into streams: to models, and proxies."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(
    name="answers",
    routes="gateway.features.proxies.answer_routes:AnswerRoutes",  # its client of other servers
    has_routes=lambda settings: bool(settings.written),
)
