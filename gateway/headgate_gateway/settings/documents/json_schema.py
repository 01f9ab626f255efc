"""The JSON schema of a file of settings, by which editors complete and check it.

The schema accepts whatever is valid in a file. It refuses what a single value shows: keys that do
not exist, types, numbers out of bounds and malformed texts. What several values say together, and
what a size in words amounts to, is checked by `load` alone.
"""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any, Literal, get_args, get_origin

from headgate_gateway.settings.declared import Settings
from headgate_gateway.settings.reading.tables import Setting, Table
from headgate_gateway.settings.reading.values import TextPattern, bare_type
from headgate_gateway.settings.route import Route
from headgate_gateway.settings.setting_descriptions import allowed

# The newest draft that the editors' plug-ins for TOML know.
DRAFT = "http://json-schema.org/draft-07/schema#"
_TYPES = {bool: "boolean", int: "integer", float: "number"}

WHERE = ("storage", "origin", "routes")  # of which one says where the streams are
# A route has one of the first two.
OF_ROUTE = {"oneOf": [{"required": [key]} for key in WHERE[:2]]}

Schema = dict[str, Any]


def json_schema() -> Schema:
    """Return the schema of a file of settings."""
    return {
        "$schema": DRAFT,
        "title": "Headgate settings",
        **_table(Settings),
        # The sections of features from outside are not known here.
        "additionalProperties": {"type": "object"},
        "not": {"anyOf": [{"required": [*pair]} for pair in combinations(WHERE, 2)]},
    }


def _table(model: type[Table]) -> Schema:
    required = [key for key, field in model.settings.items() if field.is_required]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _setting(field) for key, field in model.settings.items()},
        **({"required": required} if required else {}),
        **(OF_ROUTE if model is Route else {}),
    }


def _setting(field: Setting) -> Schema:
    if field.section is not None:
        return {"description": field.description, **_section(field.section)}
    schema = _value(field.type, field.metadata, _bounds(field))
    must = allowed(field)
    description = f"{field.description}\n\nAllowed: {must}."
    default = {} if field.is_required else {"default": field.plain(field.default)}
    return {"description": description, **default, **schema}


def _section(section: type[Table]) -> Schema:
    if not section.short:
        return _table(section)
    short = section.settings[section.short]
    return {"anyOf": [_table(section), _value(short.type, short.metadata, _bounds(short))]}


def _bounds(field: Setting) -> Schema:
    """Return the bounds of a number, or of the items of a list."""
    if field.longest:
        return {"maxItems": field.longest}
    if field.bounds is None:
        return {}
    return {"minimum": field.bounds[0], "maximum": field.bounds[1]}


def _value(bare: Any, metadata: tuple[object, ...], bounds: Schema) -> Schema:  # noqa: ANN401 - a type
    written = next((it for it in metadata if isinstance(it, TextPattern)), None)
    text = {"type": "string", **_pattern(written)}
    if get_origin(bare) is tuple:
        own = {"type": "array", "items": _item(get_args(bare)[0]), **bounds}
    elif get_origin(bare) is Literal:
        return {"enum": [*get_args(bare)]}
    elif bare in _TYPES:
        own = {"type": _TYPES[bare], **bounds}
    elif written is not None and written.is_or_list:
        own = {"type": "array", "items": text, "minItems": 1}
    else:  # a text, or what is written as one
        return text
    return {"anyOf": [own, text]} if written else own


def _pattern(written: TextPattern | None) -> Schema:
    """Return a pattern as schemas have it: found anywhere, and without names of groups."""
    if written is None or not written.pattern:
        return {}
    unnamed = re.sub(r"\?P<\w+>", "", written.pattern)
    return {"pattern": f"^({unnamed})$"}


def _item(hint: object) -> Schema:
    bare, metadata = bare_type(hint)
    if isinstance(bare, type) and issubclass(bare, Table):
        return _table(bare)
    return _value(bare, metadata, {})
