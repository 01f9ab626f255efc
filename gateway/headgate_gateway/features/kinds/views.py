"""Streams in the dialects of clients."""

from __future__ import annotations

from headgate_gateway.features.kinds.declaration import FeatureKind, FirstUse
from headgate_gateway.protocol.views import RENDERED

KIND = FeatureKind(
    name="views",
    of_log="headgate_gateway.features.views.route_views:RouteViews",
    first_use=FirstUse(views=RENDERED),
)
