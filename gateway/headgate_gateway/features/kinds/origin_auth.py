"""Routes whose origin decides who may read."""

from __future__ import annotations

from headgate_gateway.features.kinds.declaration import FeatureKind
from headgate_gateway.settings.origin_auth import BY_ORIGIN

KIND = FeatureKind(
    name="origin_auth",
    is_wanted=lambda route: route.auth == BY_ORIGIN,
    requests="headgate_gateway.features.origin_auth.requests:AskingRequests",
)
