"""The modules of features from outside, which bring a KIND."""

from __future__ import annotations

from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from typing import Any


def kind_in(module: str) -> Any:  # noqa: ANN401 - a FeatureKind, which is above
    """Return the KIND of a feature from outside. Raises ValueError that says what is wrong."""
    invalidate_caches()  # it may have been installed since the last look
    root = module.partition(".")[0]
    try:
        is_installed = root.isidentifier() and find_spec(root) is not None
        found = import_module(module) if is_installed else None
    except Exception as error:  # whatever the module raises
        why = f"{module} cannot be imported: {type(error).__name__}: {error}"
        raise ValueError(f"must name Python modules of features, and {why}") from error
    if found is None:  # its name is not repeated: it may be anything, such as a secret
        raise ValueError("must name Python modules of features that are installed here")
    if not hasattr(found, "KIND"):
        raise ValueError(f"must name modules that have a KIND, and {module} has none")
    return found.KIND
