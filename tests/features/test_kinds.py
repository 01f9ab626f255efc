"""The declarations of features: what they name exists, and is loaded by what asks for it first."""

from __future__ import annotations

import asyncio
import pkgutil
from typing import TYPE_CHECKING, Any, get_args

import pytest

from headgate_admin.pages.console_page import ConsolePage
from headgate_gateway.features import kinds
from headgate_gateway.features.kinds import KINDS
from headgate_gateway.features.kinds.declaration import FirstUse
from headgate_gateway.features.on_demand import FeatureOnDemand
from headgate_gateway.features.questions.contract import FeatureQuestion
from headgate_gateway.features.questions.streams import ListStreams
from headgate_gateway.features.questions.subscriptions import (
    FEATURE,
    ListSubscriptions,
    SubscriptionQuery,
)
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.protocol.http.paths import MCP, RESERVED
from headgate_gateway.routes.feature import RouteFeature
from headgate_gateway.settings import Route
from tests.support.serving import PREFIX, get, put, request, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_gateway.features.kinds.declaration import FeatureKind
    from headgate_gateway.logs.contract import Log
    from headgate_gateway.streams.route import HostedRoute
    from tests.support.serving import Serving

JSON = ["Content-Type: application/json"]
PULL = b'{"type":"pull-wake","pattern":"*","wake_stream":"wakes"}'
LIST = ListSubscriptions(SubscriptionQuery())
ON_DEMAND = {"console", "views", "subscriptions"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_a_kind_of_feature_names_exists_and_is_as_the_kind_says(kind: FeatureKind) -> None:
    functions = [kind.of_log, kind.of_origin, kind.check, kind.requests, kind.answer]
    use = kind.first_use or FirstUse()
    functions += [kind.routes, use.stored]
    found = [pkgutil.resolve_name(name) for name in functions if name]
    assert found
    assert all(callable(one) for one in found)
    assert bool(kind.questions) == bool(kind.answer)
    # What is stored is in a log, which a route to an HTTP origin has not.
    origin = Route(prefix="/origin", origin="http://127.0.0.1:9")
    assert not (use.stored and kind.is_on_demand(origin))
    assert not kind.questions or get_args(pkgutil.resolve_name(kind.questions))
    names = [it.name for it in KINDS]
    assert not kind.page or isinstance(pkgutil.resolve_name(kind.page), ConsolePage)
    assert all(pkgutil.resolve_name(it.target) for it in kind.commands)
    assert all(names.index(name) < names.index(kind.name) for name in kind.needs)


def test_each_module_that_declares_a_kind_of_feature_is_in_the_order_of_kinds() -> None:
    modules = {it.name for it in pkgutil.iter_modules(kinds.__path__)} - {"declaration"}
    assert {getattr(kinds, name).KIND.name for name in modules} == {it.name for it in KINDS}
    assert len(KINDS) == len(modules)


@pytest.mark.parametrize(
    ("log", "settings", "loaded"),
    [
        (MemoryLog, {}, set()),
        (MemoryLog, {"runs": True}, {"console", "runs"}),
        (MemoryLog, {"mcp_events": True}, {"mcp"}),
    ],
    ids=["by-default", "runs", "mcp"],
)
async def test_a_route_loads_the_features_that_its_settings_ask_for(
    log: type[Log], settings: dict[str, bool], loaded: set[str]
) -> None:
    async with serving(log(), own=settings) as gateway:
        route = gateway.route
        assert loaded_by(route) == loaded
        assert set(route.features) | {"subscriptions"} == ON_DEMAND | loaded
        for path, owner in ((f"{RESERVED}/jwks.json", "subscriptions"), (MCP, "mcp"), ("s", "")):
            place = gateway.routes.find_place(f"{PREFIX}/{path}") if owner in loaded else None
            assert (place and place.control) is (route.features[owner] if place else None)


USES: tuple[tuple[str, Callable[[Serving], Awaitable[Any]]], ...] = (
    ("views", lambda it: it.ask(get("s?offset=-1&view=text&live=sse"))),
    ("subscriptions", lambda it: it.ask(get(f"{PREFIX}/{RESERVED}/jwks.json"))),
    ("subscriptions", lambda it: it.inspector.answer(FeatureQuestion.of(FEATURE, LIST))),
    ("console", lambda it: it.inspector.answer(ListStreams(PREFIX))),
)


@pytest.mark.parametrize(("name", "first_use"), USES, ids=range(len(USES)))
async def test_the_first_use_loads_a_feature_and_no_other(
    name: str, first_use: Callable[[Serving], Awaitable[Any]]
) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", "Stream-Closed: true"))
        assert loaded_by(gateway.route) == set()
        await first_use(gateway)
        assert loaded_by(gateway.route) == {name}
        feature, kind = gateway.route.features[name], next(it for it in KINDS if it.name == name)
        use = kind.first_use
        assert use is not None
        assert (feature.control, feature.views) == (use.control, use.views)


def loaded_by(route: HostedRoute) -> set[str]:
    """Return the names of the features of a route that are loaded."""
    assert all(isinstance(it, RouteFeature) for it in route.features.values())
    return {name for name, it in route.features.items() if not isinstance(it, FeatureOnDemand)}


async def test_requests_at_once_load_a_feature_once_and_each_has_its_response() -> None:
    async with serving() as gateway:
        keys = get(f"{PREFIX}/{RESERVED}/jwks.json")
        answers = await asyncio.gather(*(gateway.ask(keys) for _ in range(5)))
        assert [it.status for it in answers] == [200] * 5
        assert loaded_by(gateway.route) == {"subscriptions"}


@pytest.mark.parametrize("is_stored", [False, True])
async def test_only_a_route_with_stored_subscriptions_loads_them_as_it_opens(
    *, is_stored: bool
) -> None:
    log = MemoryLog()
    async with serving(log) as gateway:
        if is_stored:
            stored = request("PUT", f"{PREFIX}/{RESERVED}/subscriptions/s", *JSON, body=PULL)
            assert (await gateway.ask(stored)).status == 201
    async with serving(log) as gateway:
        await gateway.route.open_features()
        assert loaded_by(gateway.route) == ({"subscriptions"} if is_stored else set())
        await gateway.route.features["subscriptions"].close()
