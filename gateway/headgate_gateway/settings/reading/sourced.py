"""Settings that know where each of their values was given."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from headgate_gateway.settings.reading.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


class SourcedSettings(Table):
    """A table that remembers the source of each given value; only `load` sets any."""

    # By the path of the value, such as limits.max_append or routes[0].prefix.
    _sources = MappingProxyType[str, str]({})
    # Sentences on values that do not count, because another source comes first.
    outranked: ClassVar[tuple[str, ...]] = ()

    @property
    def sources(self) -> Mapping[str, str]:
        """The source of each given value: FILE:LINE, a variable or a flag.

        Its keys are paths such as `limits.max_append` or `routes[0].prefix`.
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

    def value_at(self, path: str) -> Any:  # noqa: ANN401 - of the setting's own type
        """Return the value at a path such as `credentials.jwt_issuers[0].jwks`.

        Return None where a list has become shorter, or no setting is.
        """
        value: Any = self
        for step in re.findall(r"\w+", path):
            if step.isdecimal():
                value = value[int(step)] if int(step) < len(value) else None
            else:
                value = getattr(value, step, None)
        return value

    def with_sources(self, sources: Mapping[str, str], outranked: tuple[str, ...] = ()) -> Self:
        """Return a copy with the sources of its values, and of those that do not count."""
        copy = self.but()
        vars(copy)["_sources"] = sources
        vars(copy)["outranked"] = outranked
        return copy
