"""The settings file of `headgate config init`: one route, and every other setting in a comment."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from gateway.settings.declared import DEFAULT_PREFIX, Settings
from gateway.settings.reading.values import Mistaken
from gateway.settings.route import Route
from gateway.settings.setting_descriptions import allowed, describe_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.reading.tables import Setting, Table

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
# What most gateways set stands first. Some of these keys have an example in place of the default,
# and some are no comment.
FIRST = ("listen", "admin", "auth", "tokens_file", "log_level", "log_format", "log_requests")
EXAMPLES: dict[str, object] = {"auth": ["tokens"], "tokens_file": "tokens.toml"}
ACTIVE = {"listen", "admin"}
# An origin of each kind on which a setting of routes may depend, and its name in a sentence.
ORIGINS = {"file:x": "file:PATH", "memory:": "memory:", "redis://h": "Redis", "http://h": "http(s)"}


def commented_file(path: str) -> str:
    """Return the text of a valid settings file; `path` is that of the file, for a shell."""
    settings = Settings.settings
    others = [it.key for it in describe_settings() if it.key not in {*FIRST, "origin", "routes"}]
    arrays = [key for key in others if settings[key].table is not None]
    parts = [
        HEAD.format(path=path, example=EXAMPLE),
        *(_entry(key, settings[key], key in ACTIVE, EXAMPLES.get(key)) for key in FIRST),
        _title(
            "Other settings of the gateway; routes and tables such as admin_users are below them"
        ),
        *(_entry(key, settings[key]) for key in others if key not in arrays),
        _title("Routes: each is a path prefix, and where its streams live"),
        "[[routes]]\n",
        *_route_entries(),
        *(part for key in arrays for part in _array(key, settings[key])),
    ]
    return "\n".join(parts)


def _route_entries() -> Iterator[str]:
    values: dict[str, object] = {"prefix": DEFAULT_PREFIX, "origin": Settings().origin}
    for key, field in Route.settings.items():
        yield _entry(key, field, key in values, values.get(key), _only_for(key, field))


def _only_for(key: str, field: Setting) -> str:
    """Return a sentence that names the origins with which a route may have a setting, or ""."""
    if field.is_required:
        return ""
    fitting = [words for origin, words in ORIGINS.items() if _fits(origin, key, field)]
    return "" if len(fitting) == len(ORIGINS) else f" Only for origins: {', '.join(fitting)}."


def _fits(origin: str, key: str, field: Setting) -> bool:
    try:
        Route.of({"prefix": "/a", "origin": origin, key: field.plain(field.default)})
    except Mistaken:
        return False
    return True


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


def _entry(
    key: str, field: Setting, is_active: bool = False, value: object = None, more: str = ""
) -> str:
    """Return a setting with its description and a value: its default if `value` is None."""
    comment = f"{field.description} Allowed: {allowed(field)}.{more}"
    lines = textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="# ")
    if value is None:
        value = EXAMPLE if field.is_required else field.plain(field.default)
    mark = "" if is_active else "#"
    return "\n".join([*lines, f"{mark}{key} = {_toml(value)}", ""])


def _toml(value: object) -> str:
    """Return a value in TOML, which has the form of JSON for strings, integers and lists."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)
