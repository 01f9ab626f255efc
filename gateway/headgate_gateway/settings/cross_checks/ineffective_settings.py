"""Find settings that need a guard on a route without one: it was meant to be guarded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.settings.credential_kinds import KINDS, names, ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.declared import Settings
    from headgate_gateway.settings.route import Route

NOBODY_IS_ASKED = (
    "must be left out while no credential is asked for: say by which credentials users are known, "
    'such as auth = ["tokens"], in the route or before all routes'
)


class IneffectiveSetting(NamedTuple):
    """A setting without effect: where it is, and what it must be."""

    path: tuple[str | int, ...]
    must: str


def ineffective_settings(settings: Settings) -> Iterator[IneffectiveSetting]:
    """Yield each setting that only has an effect with a guard, where there is none."""
    used: set[str] = set()
    for index, route in enumerate(settings.routes):
        used |= {*settings.auth_of(route)}
        for key, must in _of_route(settings, route):
            yield IneffectiveSetting(("routes", index, key), must)
    if not settings.routes:
        used |= {*settings.auth}
    for written in settings.written:
        used |= {*settings.auth_of(written)}
    # The file also has revocations of all kinds, and versions of reader keys.
    if settings.credentials.tokens_file and not used & KINDS.keys():
        *others, last = names()
        kinds = f"{', '.join(others)} or {last}"
        yield _unused("credentials.tokens_file", kinds, "tokens")
    for kind in ranked():
        is_given = bool(settings.value_at(kind.setting))
        if kind.owns_setting and is_given and kind.name not in used:
            yield _unused(kind.setting, kind.name, kind.name)


def _of_route(settings: Settings, route: Route) -> Iterator[tuple[str, str]]:
    auth = settings.auth_of(route)
    if route.anonymous and not auth:
        yield "anonymous", NOBODY_IS_ASKED
    if route.conceal == "on" and not auth:
        yield "conceal", NOBODY_IS_ASKED
    if route.listing == "on" and not auth:
        yield "listing", NOBODY_IS_ASKED
    # With an explicit auth = "none", a proxy in front may decide.
    if route.visibility == "private" and not (route.auth or settings.auth):
        yield "visibility", f'{NOBODY_IS_ASKED}; auth = "none" is for a proxy in front that asks'
    if route.reader_keys == "on":
        if not route.is_private(auth):
            yield "reader_keys", "must be off: the route is public, and caches keep it without one"
        elif not settings.credentials.keys_file:
            yield (
                "reader_keys",
                "must be off without credentials.keys_file, which has the secret they need",
            )


def _unused(key: str, kinds: str, kind: str) -> IneffectiveSetting:
    must = f'must be left out, or used: auth of no route has {kinds}, as in auth = ["{kind}"]'
    return IneffectiveSetting(tuple(key.split(".")), must)
