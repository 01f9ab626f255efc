"""Streams in the dialects of clients."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(name="views", of_log="gateway.features.views.route_views:set_views")
