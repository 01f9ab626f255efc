"""Routes whose origin decides who may read."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind
from gateway.settings.origin_auth import BY_ORIGIN

KIND = FeatureKind(
    name="origin_auth",
    is_wanted=lambda route: route.auth == BY_ORIGIN,
    requests="gateway.features.origin_auth.requests:AskingRequests",
)
