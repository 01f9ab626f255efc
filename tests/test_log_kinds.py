"""A kind of log is added by one module: everything that has to know of it reads its declaration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from headgate_admin import about
from headgate_admin.record import policy
from headgate_gateway.logs.registry import formats, log_for
from headgate_gateway.monitoring.rules import parts_of
from headgate_gateway.settings import Route, Settings, SettingsError, load, redacted_origin
from headgate_gateway.settings.log_kinds import KINDS
from tests.support.toy_log import KIND, ToyLog

if TYPE_CHECKING:
    from collections.abc import Iterator

STORAGE = "toy://:s3cret@blocks"


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the kind found, as if its module were among the others."""
    monkeypatch.setitem(KINDS, KIND.name, KIND)
    about.versions.cache_clear()
    yield
    about.versions.cache_clear()


def toy(**values: object) -> Route:
    return Route.of({"prefix": "/a", "storage": STORAGE, **values})


def at(place: str) -> dict[str, str]:
    """Return the setting of a route that says where its streams are."""
    return {"origin" if place.startswith("http") else "storage": place}


def refusal(**values: object) -> str:
    with pytest.raises(SettingsError) as refused:
        load(None, {}, values)
    return str(refused.value)


def test_a_route_gets_the_log_class_and_formats_of_its_kind() -> None:
    log = log_for(toy())
    assert isinstance(log, ToyLog)
    assert log.shelf == "blocks"
    assert formats([toy()]) == {"labels of shelves": "7"}


def test_a_storage_is_checked_by_its_kind_and_shown_without_its_password() -> None:
    assert redacted_origin(STORAGE) == "toy://:***@blocks"
    told = refusal(storage="toy://:s3cret@4")
    assert "must have the name of a shelf" in told
    assert "s3cret" not in told


def test_two_routes_to_one_log_are_refused_in_the_words_of_their_kind() -> None:
    routes = [{"prefix": "/a", "storage": STORAGE}, {"prefix": "/b", "storage": "toy://:k@blocks"}]
    told = refusal(routes=routes)
    assert "both are on the shelf blocks" in told
    assert "s3cret" not in told


def test_a_setting_of_some_log_kinds_is_accepted_for_those_kinds_only() -> None:
    assert toy(wait_replicas=1).wait_replicas == 1
    told = refusal(routes=[{"prefix": "/a", "storage": STORAGE, "tls_ca": "a.pem"}])
    assert "must be left out: toy://:***@blocks is not a server" in told
    told = refusal(routes=[{"prefix": "/a", "storage": "memory:", "wait_replicas": 1}])
    assert "memory: is not a Redis or a toy" in told


def test_several_workers_are_refused_for_a_log_kind_that_one_process_opens() -> None:
    told = refusal(storage=STORAGE, workers=2)
    assert "as one process alone can open a shelf" in told
    assert "s3cret" not in told


@pytest.mark.parametrize(("keeps", "lifetime"), [(True, 86_400), (False, 60)])
def test_the_chunk_lifetime_is_long_only_for_a_log_kind_that_keeps_its_offsets(
    monkeypatch: pytest.MonkeyPatch, keeps: bool, lifetime: int
) -> None:
    monkeypatch.setitem(KINDS, KIND.name, replace(KIND, keeps_offsets=keeps))
    assert toy().chunk_lifetime == lifetime


@pytest.mark.parametrize(
    ("place", "fresh_s"),
    [("memory:", 60), ("redis://h", 60), ("http://h", 60), ("file:/x", 86_400)],
)
def test_history_is_fresh_for_a_minute_by_default_but_for_a_day_in_a_file(
    place: str, fresh_s: int
) -> None:
    route = Route.of({"prefix": "/a", **at(place)})
    lifetimes = (route.chunk_lifetime, route.stale_while_revalidate, route.tail_max_age)
    assert lifetimes == (fresh_s, 300, 1)


@pytest.mark.parametrize(
    ("place", "given", "lifetime"),
    [
        ("file:/x", {}, 60),
        ("redis://h", {}, 60),
        ("memory:", {"tail_max_age": 7}, 7),
        ("http://h", {"tail_max_age": 7}, 7),
        ("memory:", {"closed_max_age": 30}, 30),
        ("http://h", {"closed_max_age": 30}, 30),
        ("file:/x", {"chunk_max_age": 5}, 5),
        ("file:/x", {"chunk_max_age": 5, "closed_max_age": 30}, 30),
        ("file:/x", {"closed_max_age": 0}, 0),
    ],
)
def test_the_lifetime_of_closed_streams_is_that_of_the_tail_where_streams_may_not_outlive_us(
    place: str, given: dict[str, int], lifetime: int
) -> None:
    assert Route.of({"prefix": "/a", **at(place), **given}).closed_lifetime == lifetime


@pytest.mark.parametrize(
    ("place", "trusts"),
    [("file:/x", True), ("redis://h", False), ("memory:", False), ("http://h", False)],
)
def test_purges_are_trusted_only_for_streams_that_end_by_requests_and_expiry(
    place: str, trusts: bool
) -> None:
    given = {"prefix": "/a", **at(place), "chunk_max_age": 86_400}
    assert Route.of(given).keeps_offsets is trusts


def test_the_console_names_the_log_kind_its_libraries_and_how_long_streams_last() -> None:
    assert policy.kind(toy()) == "toy"
    assert KIND.lasts in policy.sentences(toy())
    assert "click" in about.versions()


def test_the_watched_parts_depend_on_the_log_kinds_of_the_routes() -> None:
    assert parts_of(Settings(storage=STORAGE)) == {"log", "subscriptions", "toy"}
    assert parts_of(Settings(storage="memory:")) == {"log", "memory", "subscriptions"}
