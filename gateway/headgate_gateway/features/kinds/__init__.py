"""The kinds of features: each module here declares a `KIND`, and no other module names one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.errors import StartError
from headgate_gateway.features.kinds import (
    answers,
    console,
    listing,
    mcp,
    origin_auth,
    runs,
    subscriptions,
    views,
)
from headgate_gateway.features.kinds.declaration import FeatureKind
from headgate_gateway.settings.reading.feature_modules import kind_in

if TYPE_CHECKING:
    from collections.abc import Iterable


# In the order in which a route gets them: each kind is after those that it needs.
KINDS: tuple[FeatureKind, ...] = (
    console.KIND,
    views.KIND,
    listing.KIND,
    subscriptions.KIND,
    runs.KIND,
    mcp.KIND,
    answers.KIND,
    origin_auth.KIND,
)


def kinds_of(features: Iterable[str]) -> tuple[FeatureKind, ...]:
    """Return the kinds of features, those of the named modules last. Raises StartError."""
    found = list(KINDS)
    for module in features:
        kind = kind_in(module)
        if not isinstance(kind, FeatureKind):
            raise StartError(f"features: the KIND of {module} is not a FeatureKind")
        if kind.name in {it.name for it in found}:
            raise StartError(f"features: {module} brings {kind.name}, which is there already")
        found.append(kind)
    return tuple(found)
