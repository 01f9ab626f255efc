"""The check of settings that have been read: whether a server would start by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.access.authorities import check_authorities
from headgate_gateway.features.composition import check_features
from headgate_gateway.outgoing_proxies import proxy_uses
from headgate_gateway.settings.cross_checks.written_routes import written_routes
from headgate_gateway.settings.log_kinds import file
from headgate_gateway.settings.reading.toml_file import spell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings import Settings


def check_start(settings: Settings) -> tuple[str, ...]:
    """Return a warning for each part of the settings that has no effect, or too little.

    Raises StartError for a file of tokens, keys or event types, or a proxy of the environment, that
    a start refuses. What certificates, keys and folders a start refuses, reading the settings has
    found already.
    """
    warnings = check_authorities(settings)
    proxy_uses(settings)
    for _, route in written_routes(settings):
        check_features(settings, route)
    return warnings


def folder_problems(settings: Settings, in_force: Settings) -> tuple[str, ...]:
    """Return a sentence for each folder of a log that this user cannot make or write to.

    Folders in force are open here, so they are not tried.
    """
    used = {place for _, log in _folders(in_force) for place in file.KIND.places(log)}
    problems = []
    for name, log in _folders(settings):
        why = None if used.intersection(file.KIND.places(log)) else file.why_not_writable(log)
        if why is not None:
            problems.append(f"{settings.named(name)}: {why}.")
    return tuple(problems)


def _folders(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each log in a folder after the name of its setting."""
    for path, route in written_routes(settings):
        if route.log_kind is file.KIND:
            yield spell(path), route.storage
