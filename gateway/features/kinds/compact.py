"""Streams in which neighbouring deltas are joined."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind, FirstUse
from gateway.protocol.views import COMPACT

KIND = FeatureKind(
    name="compact",
    of_log="gateway.features.compact.folded_reader:FoldedReader",
    first_use=FirstUse(views=(COMPACT,)),
)
