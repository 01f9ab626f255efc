"""The tables of docs/configuration.md, made from the declarations of the settings.

`python -m tests.settings_document` writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.settings.arrays.access import AdminToken, AdminUser
from gateway.settings.arrays.jwt_issuers import JwtIssuer
from gateway.settings.arrays.model_route import ModelSettings
from gateway.settings.arrays.proxy_route import ProxySettings
from gateway.settings.arrays.purged_cache import PurgedCache
from gateway.settings.declared import Settings
from gateway.settings.route import Route
from gateway.settings.setting_descriptions import SettingDescription, describe_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings.reading.tables import Table

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
# The class of the table under each heading.
TABLES: dict[str, type[Table]] = {
    "All settings": Settings,
    "Routes": Route,
    "Models": ModelSettings,
    "Proxies": ProxySettings,
    "Users of the console": AdminUser,
    "Tokens of the console": AdminToken,
    "Caches that are purged": PurgedCache,
    "JWT issuers": JwtIssuer,
}


def table(model: type[Table]) -> str:
    """Return the table of a class of settings, without columns that are empty for all of them."""
    declared = describe_settings(model)
    cells = {name: [cell(it) for it in declared] for name, cell in COLUMNS.items()}
    columns = [name for name in COLUMNS if any(text.strip("`") for text in cells[name])]
    rows = zip(*(cells[name] for name in columns), strict=True)
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written_anew(text: str) -> str:
    """Return the document with the table under each heading of TABLES made anew."""
    for heading, model in TABLES.items():
        before, section = text.split(f"## {heading}\n", 1)
        begin = section.index("| Key |")
        end = section.index("\n\n", begin) + 1
        text = f"{before}## {heading}\n{section[:begin]}{table(model)}{section[end:]}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(written_anew(DOCUMENT.read_text()))
