"""The dialects of models, of which each module of `providers` is a family, with a PROVIDER."""

from __future__ import annotations

import pkgutil

# Found by name alone, so that a process which needs no dialect imports none.
NAMES = tuple(sorted(it.name for it in pkgutil.iter_modules([f"{__path__[0]}/providers"])))
