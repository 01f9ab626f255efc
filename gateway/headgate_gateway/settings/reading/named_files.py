"""The paths of all files that settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.settings.reading.kinds import FILE_KIND, ValueKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.reading.tables import Table


def named_files(table: Table) -> Iterator[str]:
    """Yield the path of each file that a table or a table in it names."""
    for key, one in table.settings.items():
        value = getattr(table, key)
        if one.section or one.table:
            for inner in (value,) if one.section else value:
                yield from named_files(inner)
            continue
        kinds = (it.words for it in one.metadata if isinstance(it, ValueKind))
        # The keys of an issuer are in a file, or at a URL.
        if value and any(FILE_KIND in words for words in kinds) and "://" not in value:
            yield value
