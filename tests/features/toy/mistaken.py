"""A feature whose section has the name of one of Headgate's own."""

from __future__ import annotations

from headgate_gateway.features.kinds.declaration import FeatureKind
from tests.features.toy.section import GreetingSettings

KIND = FeatureKind(name="limits", of_log="not:loaded", section=GreetingSettings)
