"""Settings that know where each of their values was given."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.settings.reading.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


class SourcedSettings(Table):
    """A table that remembers the source of each given value; only `load` sets any."""

    # By the path of the value, such as routes[0].prefix.
    _sources = MappingProxyType[str, str]({})

    @property
    def sources(self) -> Mapping[str, str]:
        """The source of each given value: FILE:LINE, a variable or a flag.

        Its keys are paths such as `routes[0].prefix`.
        """
        return self._sources

    @property
    def file(self) -> str | None:
        """The file of settings; None if no value comes from one."""
        places = (source.rpartition(":") for source in self._sources.values())
        return next((file for file, _, line in places if line.isdecimal()), None)

    def named(self, path: str) -> str:
        """Return a setting's name for messages, with the place where it was given."""
        source = self._sources.get(path)
        return path if source is None else f"{source}: {path}"

    def with_sources(self, sources: Mapping[str, str]) -> Self:
        """Return a copy with the sources of its values."""
        copy = self.but()
        vars(copy)["_sources"] = sources
        return copy
