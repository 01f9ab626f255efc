"""Streams in which neighbouring deltas are joined."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind, always
from gateway.protocol.views import COMPACT

KIND = FeatureKind(
    name="compact",
    of_log="gateway.features.compact.folded_reader:FoldedReader",
    is_on_demand=always,
    views=(COMPACT,),
)
