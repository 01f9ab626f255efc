"""The console's questions about the streams of a route."""

from __future__ import annotations

from headgate_gateway.features.kinds.declaration import FeatureKind, FirstUse

KIND = FeatureKind(
    name="console",
    of_log="headgate_gateway.features.console.stream_list:StreamList",
    of_origin="headgate_gateway.features.console.known_streams:KnownStreams",
    first_use=FirstUse(),
)
