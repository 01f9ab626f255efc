"""The pages of the console: a module for each with its `PAGE`, and its template beside it.

A new page is a new module here, which is found by being here. Those of features are found by their
kinds.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

from headgate_gateway.features.kinds import kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headgate_admin.pages.console_page import ConsolePage


def pages(features: Iterable[str] = ()) -> Iterator[ConsolePage]:
    """Yield the page of each module, and that of each feature; some features are from outside."""
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        yield import_module(found.name).PAGE
    for kind in kinds_of(features):
        if kind.page:
            yield pkgutil.resolve_name(kind.page)
