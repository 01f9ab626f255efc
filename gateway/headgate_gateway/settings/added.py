"""The settings of features from outside: each may add a section to the model of the settings."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from headgate_gateway.settings.declared import Settings
from headgate_gateway.settings.reading.feature_modules import kind_in
from headgate_gateway.settings.reading.kinds import split_list
from headgate_gateway.settings.reading.tables import section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.settings.reading.tables import Section


def kinds_named(values: object) -> Iterator[Any]:
    """Yield the KIND of each feature that a value of the setting names.

    What is wrong with them is left out: the setting itself is refused for that.
    """
    names = split_list(values)
    for name in names if isinstance(names, list | tuple) else ():
        with suppress(ValueError):
            yield kind_in(str(name))


def model_for(values: object) -> type[Settings]:
    """Return the model of settings with the sections of the features that `values` name."""
    found: dict[str, type[Section]] = {}
    for kind in kinds_named(values):
        if kind.section is not None and kind.name not in Settings.settings:
            found[kind.name] = kind.section
    return _model(tuple(found.items()))


def of_plain(values: Mapping[str, object]) -> Settings:
    """Return the settings that another process has sent as JSON."""
    return model_for(values.get("features")).of(values)


@lru_cache(16)
def _model(sections: tuple[tuple[str, type[Section]], ...]) -> type[Settings]:
    """Return the same class for the same sections, so that equal settings are equal."""
    if not sections:
        return Settings
    names: dict[str, Any] = {name: section(f"The feature {name}.") for name, _ in sections}
    hints = {name: Annotated[table, None] for name, table in sections}
    return type(
        "Settings", (Settings,), {**names, "__annotations__": hints, "__module__": __name__}
    )
