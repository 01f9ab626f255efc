"""Settings as tests write them, by a key alone: `max_append`, or `tls_certificate` for [tls]."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from headgate_gateway.settings.declared import Settings
from headgate_gateway.settings.reading.given import variable
from headgate_gateway.settings.reading.toml_file import spell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.settings.reading.tables import Table
    from headgate_gateway.settings.reading.values import Place


def _places(model: type[Table], at: Place = ()) -> Iterator[tuple[str, Place]]:
    for key, one in model.settings.items():
        place = (*at, key)
        if one.section is None:
            yield key, place
            yield "_".join(map(str, place)), place
        else:
            yield from _places(one.section, place)
            if one.section.short:
                yield "_".join(map(str, place)), (*place, one.section.short)


_ALL = [*_places(Settings)]
_KEYS = Counter(key for key, _ in _ALL)
# A key in several sections has to be written with its section, unless it stands by itself, too.
PLACES: dict[str, Place] = {
    key: place for key, place in _ALL if _KEYS[key] == 1 or key in place[:1] or "_" in key
}


def at(url: str) -> dict[str, str]:
    """Return the setting of where streams are: the storage, or the origin of an http(s) URL."""
    return {"origin" if url.startswith("http") else "storage": url}


def sections(given: Mapping[str, object]) -> dict[str, Any]:
    """Return settings as the tables of a file have them."""
    whole: dict[str, Any] = {}
    for key, value in given.items():
        table = whole
        *above, last = PLACES.get(key, (key,))
        for step in above:
            table = table.setdefault(str(step), {})
        table[str(last)] = value
    return whole


def variables(given: Mapping[str, object]) -> dict[str, str]:
    """Return the environment that gives these settings."""
    found: dict[str, str] = {}
    for key, value in given.items():
        found |= _variables(PLACES.get(key, (key,)), value)
    return found


def _variables(place: Place, value: object) -> dict[str, str]:
    if isinstance(value, list | tuple) and any(isinstance(it, dict) for it in value):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for step, inner in value.items():
            found |= _variables((*place, step), inner)
        return found
    if isinstance(value, bool):
        return {variable(place): str(value).lower()}
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return {variable(place): text}


def lines(given: Mapping[str, object]) -> list[str]:
    """Return the lines of a file of settings; arrays of tables are not among them."""
    places = ((PLACES.get(key, (key,)), value) for key, value in given.items())
    return [f"{spell(place)} = {json.dumps(value)}" for place, value in places]
