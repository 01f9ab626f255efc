"""The declarations of features: what they name exists, and routes get what settings ask for."""

from __future__ import annotations

import pkgutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.features import kinds
from gateway.features.kinds import KINDS
from gateway.features.runs.runs import set_runs
from gateway.logs.memory import MemoryLog
from gateway.protocol.http.paths import MCP, RESERVED
from gateway.routes.feature import RouteFeature
from tests.streams.shared_log import SharedLog
from tests.support.serving import PREFIX, serving

if TYPE_CHECKING:
    from gateway.features.kinds.declaration import FeatureKind
    from gateway.logs.contract import Log
    from gateway.routes.setup import RouteSetup
    from gateway.streams.route import HostedRoute

OF_EACH = {"console", "compact", "views"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_function_that_a_kind_of_feature_names_exists(kind: FeatureKind) -> None:
    names = (
        *(kind.of_log, kind.of_origin, kind.check, kind.requests),
        *(kind.answer, kind.routes),
    )
    assert any(names)
    assert all(callable(pkgutil.resolve_name(name)) for name in names if name)
    assert bool(kind.questions) == bool(kind.answer)


def test_each_module_that_declares_a_kind_of_feature_is_in_the_order_of_kinds() -> None:
    modules = {it.name for it in pkgutil.iter_modules(kinds.__path__)} - {"declaration"}
    assert {getattr(kinds, name).KIND.name for name in modules} == {it.name for it in KINDS}
    assert len(KINDS) == len(modules)


@pytest.mark.parametrize(
    ("log", "settings", "names"),
    [
        (MemoryLog, {}, OF_EACH | {"subscriptions"}),
        (SharedLog, {}, OF_EACH),  # it stores no documents
        (MemoryLog, {"runs": True}, OF_EACH | {"subscriptions", "runs"}),
        (MemoryLog, {"mcp_events": True}, OF_EACH | {"subscriptions", "mcp"}),
    ],
    ids=["by-default", "without-documents", "runs", "mcp"],
)
async def test_a_route_has_the_features_that_its_log_and_settings_allow(
    log: type[Log], settings: dict[str, bool], names: set[str]
) -> None:
    async with serving(log(), own=settings) as gateway:
        route = gateway.route
        assert set(route.features) == names
        assert all(isinstance(it, RouteFeature) for it in route.features.values())
        for path, owner in ((f"{RESERVED}/jwks.json", "subscriptions"), (MCP, "mcp"), ("s", "")):
            place = gateway.routes.find_place(f"{PREFIX}/{path}") if owner in names else None
            assert (place and place.control) is route.features.get(owner)


def called_by(route: HostedRoute) -> list[object]:
    """What a route calls with each append, and with each change of another kind."""
    return [*route.writes.observers, *route.lifecycle.observers]


async def test_runs_that_are_turned_off_take_no_part_in_writes() -> None:
    off = cast("RouteSetup", SimpleNamespace(route=SimpleNamespace(runs=False)))
    async with serving(own={"runs": True}) as gateway:
        route = gateway.route
        assert len(called_by(route)) == 2
        set_runs(route, off)
        assert called_by(route) == []
