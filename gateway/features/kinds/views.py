"""Streams in the dialects of clients."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind, FirstUse
from gateway.protocol.views import RENDERED

KIND = FeatureKind(
    name="views",
    of_log="gateway.features.views.route_views:RouteViews",
    first_use=FirstUse(views=RENDERED),
)
