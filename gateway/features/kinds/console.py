"""The console's questions about the streams of a route."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(
    name="console",
    of_log="gateway.features.console.stream_list:set_streams",
    of_origin="gateway.features.console.known_streams:set_streams",
)
