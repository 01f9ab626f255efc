"""Subscriptions: cursors over many streams that wake workers."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(
    name="subscriptions",
    is_wanted=lambda route: not route.is_http or bool(route.subscriptions),
    of_log="gateway.features.subscriptions.setup:set_subscriptions",
    of_origin="gateway.features.subscriptions.origins.setup:set_subscriptions",
)
