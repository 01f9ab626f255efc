"""The dialects of models: what an event of an answer is, for the library, servers and views.

Each module of `providers` is a family of providers, with a PROVIDER. Add one, and its answers can
be called through a route, rendered as views, and produced by runs.
"""

from __future__ import annotations

import pkgutil

# Found by name alone: whoever needs no dialect imports none.
NAMES = tuple(sorted(it.name for it in pkgutil.iter_modules([f"{__path__[0]}/providers"])))
