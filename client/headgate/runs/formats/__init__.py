"""The formats of runs by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.runs.formats.ai_sdk import AiSdk
from headgate.runs.formats.lines import Ndjson, Sse
from headgate.runs.formats.text import PlainText

if TYPE_CHECKING:
    from headgate.runs.formats.contract import Format

FORMATS: dict[str, Format] = {
    format_.name: format_ for format_ in (PlainText(), Ndjson(), Sse(), AiSdk())
}


def format_named(name: str) -> Format:
    """Return the format of this name; raise ValueError if there is none."""
    try:
        return FORMATS[name]
    except KeyError:
        known = ", ".join(FORMATS)
        raise ValueError(f"a run has no format {name!r}: there are {known}") from None
