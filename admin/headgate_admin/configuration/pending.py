"""The difference between the settings in force and those that are written, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate_admin.configuration.in_force import DEFAULT, shown_value
from headgate_gateway.settings import Settings, describe_settings
from headgate_gateway.settings.reading.reload_effects import fixed_changes
from headgate_gateway.settings.reload_plan import restart_reasons, route_outcome, why_log_is_in_use

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headgate_gateway.settings.reading.tables import Setting, Table

# By these settings a table is found again when others are added or moved; any other setting of it
# may have changed. Each array with a reload of its own has an entry (a test compares them).
IDENTITIES = {
    "admin.tokens": ("name",),
    "admin.users": ("name",),
    "credentials.jwt_issuers": ("issuer",),
    "models": ("prefix",),
    "proxies": ("prefix",),
    "purges": ("kind", "url", "host", "zone"),
    "routes": ("prefix",),
}
OUTCOMES = {
    "opened": "is opened",
    "set up anew": "is set up anew: live reads end after an event, cached responses are dropped",
    "authorized anew": "goes on: live reads end after an event, and are authorized again",
    "copies dropped": "goes on: cached responses are dropped",
}
CLOSED = "is closed: live reads end after an event, cached responses are dropped"


class PendingChange(msgspec.Struct, frozen=True):
    """A setting whose value in force is another one than the settings are written with now."""

    key: str
    table: str  # what identifies its table, such as the prefix of a route; empty outside tables
    current: str | None  # in force, secrets masked; None where the table is added
    written: str | None  # secrets masked; None where the table is removed
    source: str  # of the written value: default, a file and its line, a variable, an option
    reload: str  # what a reload does with it
    needs_restart: bool  # and so the whole reload is refused


class RoutePlan(msgspec.Struct, frozen=True):
    """A route that a reload touches, and what becomes of it."""

    prefix: str
    outcome: str


def changes(current: Settings, written: Settings) -> list[PendingChange]:
    """Return the settings that differ, those that need a restart first."""
    found: list[PendingChange] = []
    models = describe_settings(type(current)), describe_settings(type(written))
    declarations = {declared.path: one for model in models for declared, one in model}
    for path, one in declarations.items():
        if current.value_at(path) == written.value_at(path):
            continue
        changed = _value if one.table is None else _tables
        found += changed(current, written, path, one)
    return sorted(found, key=lambda change: not change.needs_restart)


def route_plans(current: Settings, written: Settings) -> tuple[RoutePlan, ...]:
    """Return the routes that a reload touches, in the order in which they are tried."""
    present = {route.prefix: route for route in current.route_table}
    plans = []
    for route in written.route_table:
        outcome = route_outcome(current, present.pop(route.prefix, None), written, route)
        if outcome in OUTCOMES:
            plans.append(RoutePlan(route.prefix, OUTCOMES[outcome]))
    return (*plans, *(RoutePlan(prefix, CLOSED) for prefix in present))


def refusals(current: Settings, written: Settings) -> tuple[str, ...]:
    """Return the sentences with which a reload is refused, as far as they are known before it.

    It reads the files of tokens and keys that the written settings name: call it in a thread.
    """
    if reasons := restart_reasons(current, written):
        return reasons
    present = {route.prefix: route for route in current.route_table}
    for route in written.route_table:
        outcome = route_outcome(current, present.get(route.prefix), written, route)
        if outcome in {"opened", "set up anew"} and (reason := why_log_is_in_use(current, route)):
            return (reason,)
    return (
        _unusable_files(written) if _access_settings(current) != _access_settings(written) else ()
    )


def _access_settings(settings: Settings) -> tuple[object, ...]:
    """Return what the tokens and keys that routes accept depend on.

    While that stays the same, the files are watched already, and say themselves what is wrong.
    """
    of_routes = [(it.prefix, settings.auth_of(it)) for it in settings.guarded]
    keyed = [(it.prefix, it.reader_keys) for it in settings.route_table]
    return (
        settings.credentials.tokens_file,
        settings.credentials.keys_file,
        settings.credentials.jwt_issuers,
        of_routes,
        keyed,
    )


def _unusable_files(written: Settings) -> tuple[str, ...]:
    # A supervisor has not loaded it.
    from headgate_gateway.access.authorities import check_authorities
    from headgate_gateway.errors import StartError

    try:
        check_authorities(written)
    except StartError as refusal:
        return (refusal.detail,)
    return ()


def _value(
    current: Settings, written: Settings, path: str, one: Setting
) -> Iterator[PendingChange]:
    section, _, key = path.rpartition(".")
    present, new = current.value_at(section), written.value_at(section)
    is_new = present is None  # the section of a feature that is switched on
    yield PendingChange(
        path,
        "",
        None if is_new else shown_value(present, key),
        shown_value(new, key) if is_new else new and _other_value(present, new, key),
        written.sources.get(path, DEFAULT),
        one.reload,
        any(it.path == path for it in fixed_changes(current, written)),
    )


def _tables(
    current: Settings, written: Settings, key: str, array: Setting
) -> Iterator[PendingChange]:
    """Yield what differs in an array of tables: in each table that stays, and whole ones."""
    effect = array.reload
    added = effect.partition(";")[0]  # the rest is about tables that are changed or removed
    present = {name: (at, it) for at, (name, it) in enumerate(_by_name(current.value_at(key), key))}
    for at, (name, table) in enumerate(_by_name(written.value_at(key), key)):
        _, before = present.pop(name, (at, None))
        for inner, one in table.settings.items():
            is_explicit = inner in table.explicit_keys
            if not (is_explicit if before is None else _differ(before, table, inner)):
                continue
            path = f"{key}[{at}].{inner}"
            source = written.sources.get(path) or written.sources.get(key, "")
            yield PendingChange(
                path,
                name,
                None if before is None else shown_value(before, inner),
                shown_value(table, inner) if before is None else _other_value(before, table, inner),
                source if is_explicit else DEFAULT,
                added if before is None else one.reload or effect,
                needs_restart=False,
            )
    for name, (at, _) in present.items():
        yield PendingChange(f"{key}[{at}]", name, name, None, "", effect, needs_restart=False)


def _differ(current: Table, written: Table, key: str) -> bool:
    return bool(getattr(current, key) != getattr(written, key))


def _other_value(current: Table, written: Table, key: str) -> str:
    """Return the written value as it is shown, which for two secrets is the same."""
    shown = shown_value(written, key)
    return f"{shown} (another one)" if shown == shown_value(current, key) else shown


def _by_name(tables: Sequence[Table], key: str) -> Iterator[tuple[str, Table]]:
    """Yield each table after its name, to which equal ones add a number."""
    seen: dict[str, int] = {}
    for table in tables:
        values = (f"{getattr(table, it)}" for it in IDENTITIES[key])
        name = " ".join(filter(None, values))
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), table
