"""The kinds of features: each module here declares a `KIND`, and no other module names one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.features.kinds import (
    answers,
    compact,
    console,
    mcp,
    origin_auth,
    runs,
    subscriptions,
    views,
)

if TYPE_CHECKING:
    from gateway.features.kinds.declaration import FeatureKind

# In the order in which a route gets them: each kind is after those that it needs.
KINDS: tuple[FeatureKind, ...] = (
    console.KIND,
    compact.KIND,
    views.KIND,
    subscriptions.KIND,
    runs.KIND,
    mcp.KIND,
    answers.KIND,
    origin_auth.KIND,
)
