"""The tables of docs/configuration.md, made from the declarations of the settings.

`python -m tests.settings_document` writes them anew.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from headgate_gateway.settings.declared import Settings
from headgate_gateway.settings.reading.given import setting_at
from headgate_gateway.settings.setting_descriptions import SettingDescription, describe_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from headgate_gateway.settings.reading.values import Place

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"
# Markdown would take the brackets in it for a link.
_URL = re.compile(r"\S+://\S*\[\S*\]\S*")
COLUMNS: dict[str, Callable[[SettingDescription], str]] = {
    "Key": lambda it: f"`{it.key}`",
    "Environment": lambda it: f"`{it.environment}`",
    "Default": lambda it: f"`{it.default}`" if it.default else "required",
    "Allowed": lambda it: _URL.sub(r"`\g<0>`", it.allowed),
    "Reload": lambda it: it.reload,
    "Meaning": lambda it: it.help,
}
# The array of tables that is described under each heading.
ARRAYS: dict[str, Place] = {
    "Routes": ("routes", 0),
    "Models": ("models", 0),
    "Proxies": ("proxies", 0),
    "Users of the console": ("admin", "users", 0),
    "Tokens of the console": ("admin", "tokens", 0),
    "Caches that are purged": ("purges", 0),
    "JWT issuers": ("credentials", "jwt_issuers", 0),
}
FIRST = "### Before all tables\n"  # the heading with which the settings outside of arrays begin


def table(declared: Iterable[SettingDescription]) -> str:
    """Return the table of settings, without columns that are empty for all of them."""
    items = [*declared]
    cells = {name: [cell(it) for it in items] for name, cell in COLUMNS.items()}
    columns = [name for name in COLUMNS if any(text.strip("`") for text in cells[name])]
    rows = zip(*(cells[name] for name in columns), strict=True)
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def of_array(place: Place) -> str:
    """Return the table of the settings in one table of an array."""
    array = setting_at(Settings, place)
    assert array is not None
    assert array.table is not None
    # "In the environment" says how the tables of an array are named there.
    return table(replace(it, environment="") for it, _ in describe_settings(array.table, place))


def sections() -> Iterator[str]:
    """Yield the settings outside of arrays: those before all tables, then each section's."""
    declared = [
        it if field.table is None else replace(it, environment=f"{it.environment}__0__…")
        for it, field in describe_settings()
    ]
    for above, group in groupby(declared, lambda it: it.path.removesuffix(it.key).rstrip(".")):
        heading = f"### `[{above}]`\n" if above else FIRST
        yield f"{heading}{_about(above)}\n{table(group)}"


def _about(path: str) -> str:
    """Return what a section is for, and what it may be short for."""
    section = setting_at(Settings, tuple(path.split(".")))
    if section is None or section.section is None:
        return ""
    short = section.section.short
    of_key = f" `{path} = …` alone is short for its `{short}`." if short else ""
    return f"\n{section.description}{of_key}\n"


def written_anew(text: str) -> str:
    """Return the document with its tables made anew."""
    before, _, rest = text.partition(FIRST)
    after = rest.split("\n## ", 1)[1]
    text = "".join([before, "\n".join(sections()), "\n## ", after])
    for heading, place in ARRAYS.items():
        before, section = text.split(f"## {heading}\n", 1)
        begin = section.index("| Key |")
        end = section.index("\n\n", begin) + 1
        text = f"{before}## {heading}\n{section[:begin]}{of_array(place)}{section[end:]}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(written_anew(DOCUMENT.read_text()))
