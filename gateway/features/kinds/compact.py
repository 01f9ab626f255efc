"""Streams in which neighbouring deltas are joined."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(name="compact", of_log="gateway.features.compact.folded_reader:set_folded")
