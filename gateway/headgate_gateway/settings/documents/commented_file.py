"""The settings file of `headgate config init`: three settings, and all others in comments."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from headgate_gateway.settings.declared import Settings
from headgate_gateway.settings.setting_descriptions import allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.reading.tables import Setting, Table

WIDTH = 96
HEAD = """\
# Settings of Headgate. To change a setting, remove the # before its key. The values shown are the
# defaults, except for auth and tokens_file, which have examples; {example} stands for a value that
# has no default.
#
# Check this file:       headgate config check --config {path}
# Serve by it:           headgate serve --config {path}
# Let editors check it:  headgate config check --schema > headgate.schema.json, and begin this file
#                        with
#                        #:schema ./headgate.schema.json
"""
EXAMPLE = "..."
# Examples in place of a default, and the settings that are no comment.
EXAMPLES: dict[str, object] = {"auth": ["tokens"], "credentials.tokens_file": "tokens.toml"}
ACTIVE = {"listen", "storage", "admin.listen"}


def commented_file(path: str) -> str:
    """Return the text of a valid settings file; `path` is that of the file, for a shell."""
    arrays = {key: it for key, it in Settings.settings.items() if it.table}
    parts = [
        HEAD.format(path=path, example=EXAMPLE),
        *_entries(Settings, ""),
        *_sections(Settings, ""),
        *(part for key, field in arrays.items() for part in _array(key, field)),
    ]
    return "\n".join(parts)


def _entries(model: type[Table], at: str) -> Iterator[str]:
    """Yield the settings of a table that are neither sections nor arrays of tables."""
    for key, field in model.settings.items():
        if not (field.section or field.table):
            path = f"{at}{key}"
            yield _entry(key, field, path in ACTIVE, EXAMPLES.get(path))


def _sections(model: type[Table], at: str) -> Iterator[str]:
    """Yield the sections of a table, each with the arrays of tables and the sections in it."""
    for key, field in model.settings.items():
        if field.section is None:
            continue
        yield _title(field.description.rstrip("."))
        yield f"[{at}{key}]\n"
        yield from _entries(field.section, f"{at}{key}.")
        for inner, array in field.section.settings.items():
            if array.table is not None:
                yield from _array(f"{at}{key}.{inner}", array)
        yield from _sections(field.section, f"{at}{key}.")


def _array(key: str, field: Setting) -> Iterator[str]:
    """Yield an array of tables in comments, with all keys of one table."""
    yield _title(f"{key}: {field.description.rstrip('.')}")
    yield from _table(key, field.table)


def _table(name: str, model: type[Table] | None) -> Iterator[str]:
    yield f"#[[{name}]]\n"
    inner = dict({} if model is None else model.settings)
    for key in [key for key, field in inner.items() if field.table is None]:
        yield _entry(key, inner[key])
    for key, field in inner.items():
        if field.table is not None:
            yield from _table(f"{name}.{key}", field.table)


def _title(words: str) -> str:
    return f"# {'-' * (WIDTH - 2)}\n# {words}.\n"


def _entry(key: str, field: Setting, is_active: bool = False, value: object = None) -> str:
    """Return a setting with its description and a value: its default if `value` is None."""
    comment = f"{field.description} Allowed: {allowed(field)}."
    lines = textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="# ")
    if value is None:
        value = EXAMPLE if field.is_required else field.plain(field.default)
    mark = "" if is_active else "#"
    return "\n".join([*lines, f"{mark}{key} = {_toml(value)}", ""])


def _toml(value: object) -> str:
    """Return a value in TOML, which has the form of JSON for strings, integers and lists."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)
