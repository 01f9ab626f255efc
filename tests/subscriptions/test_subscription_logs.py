"""Where subscriptions to an HTTP origin are stored, and which places are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from admin.configuration.in_force import configuration
from gateway.logs.redis.connector import RedisSettings
from gateway.settings import Settings
from gateway.settings.cross_checks.dangerous_settings import dangers
from gateway.settings.loading import SettingsError, load
from tests.reloading.reloadable import reloadable
from tests.support.given_settings import at, variables
from tests.test_settings import problems


def two_routes(*places: str) -> str:
    """A file with two routes: for each, where its streams are, and its log of subscriptions."""
    lines = []
    for prefix, url, subscriptions in (("/a", *places[:2]), ("/b", *places[2:])):
        ((key, where),) = at(url).items()
        lines += ["[[routes]]", f'prefix = "{prefix}"', f'{key} = "{where}"']
        lines.append(f'subscriptions = "{subscriptions}"')
    return "\n".join(lines) + "\n"


def test_the_setting_beside_one_origin_is_that_of_the_only_route() -> None:
    flags = {"origin": "http://h", "subscriptions": "file:/s"}
    (route,) = load(None, {}, flags).route_table
    assert (route.subscriptions, route.subscription_log.storage) == ("file:/s", "file:/s")


@pytest.mark.parametrize("place", ["http://h", "/var/lib", "file:", "mem:"])
def test_a_place_that_is_no_log_is_refused(place: str) -> None:
    (problem,) = problems(flags={"origin": "http://h", "subscriptions": place})
    assert "but must be one of file:PATH, memory:, redis://HOST[:PORT][/DB] or another " in problem


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+cluster"])
def test_subscriptions_to_one_origin_may_be_in_a_redis_also_with_several_workers(
    scheme: str,
) -> None:
    place = f"{scheme}://app:s3cret@h:1?prefix=s"
    flags = {"origin": "http://h", "subscriptions": place, "workers": 2}
    (route,) = load(None, {}, flags).route_table
    settings = RedisSettings.of(route.subscription_log)
    assert (settings.origin.prefix, settings.origin.password) == ("s", "s3cret")


def test_settings_of_connections_and_replicas_count_for_the_redis_of_subscriptions() -> None:
    own = {"prefix": "/a", "origin": "http://h", "subscriptions": "rediss://h"}
    table = [{**own, "wait_replicas": 1, "tls_verify": "off", "connect_timeout": 2.0}]
    (route,) = load(None, variables({"routes": table}), {}).route_table
    settings = RedisSettings.of(route.subscription_log)
    assert (settings.wait_replicas, settings.tls_verify, settings.connect_timeout) == (1, False, 2)


@pytest.mark.parametrize("place", ["", "memory:"])
def test_replicas_of_no_redis_are_refused(place: str) -> None:
    own = {"prefix": "/a", "origin": "http://h", "wait_replicas": 1}
    table = [{**own, **({"subscriptions": place} if place else {})}]
    (problem,) = problems(environment=variables({"routes": table}))
    assert "WAIT_REPLICAS is 1, but must be left out: neither its origin nor its" in problem


def test_a_redis_that_another_route_has_is_refused(tmp_path: Path) -> None:
    routes = two_routes("http://a", "redis://h", "http://b", "redis://H:6379/0")
    (problem,) = problems(routes, folder=tmp_path)
    assert "but must be another place: /a has its own data there" in problem
    config = tmp_path / "h.toml"
    config.write_text(routes.replace("/0", "?prefix=b"))
    assert len(load(config, {}, {}).routes) == 2


def test_a_log_of_subscriptions_beside_a_log_of_streams_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(flags={"storage": "memory:", "subscriptions": "memory:"})
    assert "the log of the only route stores subscriptions itself" in problem
    routes = two_routes("memory:", "memory:", "http://h", "memory:")
    (problem,) = problems(routes, folder=tmp_path)
    assert problem == (
        'h.toml:4: routes[0].subscriptions is "memory:", but must be left out: memory: is not an '
        "http origin."
    )


def test_a_log_of_subscriptions_beside_routes_is_refused(tmp_path: Path) -> None:
    routes = 'subscriptions = "memory:"\n' + two_routes("http://a", "memory:", "http://b", "")
    (problem,) = problems(routes, folder=tmp_path)
    assert "must be left out beside routes: give it in those to http(s) origins" in problem


@pytest.mark.parametrize(
    ("origin", "place"), [("http://b", "file:/s"), ("file:/s", "")], ids=["log", "streams"]
)
def test_a_place_that_another_route_has_is_refused(origin: str, place: str, tmp_path: Path) -> None:
    routes = two_routes("http://a", "file:/s", origin, place)
    if not place:
        routes = routes.replace('subscriptions = ""\n', "")
    (problem,) = problems(routes, folder=tmp_path)
    assert "but must be another place: /" in problem


def test_two_routes_may_both_have_subscriptions_in_memory(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(two_routes("http://a", "memory:", "http://b", "memory:"))
    assert [it.subscriptions for it in load(config, {}, {}).routes] == ["memory:"] * 2


def test_a_place_for_one_process_is_refused_with_several_workers() -> None:
    flags = {"origin": "http://h", "subscriptions": "memory:", "workers": 2}
    (problem,) = problems(flags=flags)
    assert "must be a Redis while workers is 2, as each process would have" in problem


def test_subscriptions_are_refused_where_the_origin_decides_who_may_read(tmp_path: Path) -> None:
    routes = two_routes("http://a", "memory:", "http://b", "memory:")
    routes = routes.replace('origin = "http://b"', 'origin = "http://b"\nauth = "origin"')
    (problem,) = problems(routes, folder=tmp_path)
    assert problem.startswith("h.toml:9: routes[1].subscriptions")
    assert "the origin cannot be asked who may subscribe" in problem


def test_the_console_shows_a_place_with_its_absolute_folder_and_without_its_password() -> None:
    settings = load(None, {}, {"origin": "http://h", "subscriptions": "file:s"})
    views = {view.key: view.value for view in configuration(settings).settings}
    assert views["subscriptions.storage"] == f"file:{Path('s').absolute()}"
    settings = load(None, {}, {"origin": "http://h", "subscriptions": "redis://app:s3cret@h"})
    views = {view.key: view.value for view in configuration(settings).settings}
    assert views["subscriptions.storage"] == "redis://app:***@h:6379"
    views = {view.key: view.value for view in configuration(Settings()).settings}
    assert views["subscriptions.storage"] == '""'


def test_the_password_of_a_refused_place_is_not_shown() -> None:
    place = "redis://app:s3cret@h/x"
    (problem,) = problems(flags={"origin": "http://h", "subscriptions": place})
    assert problem.startswith('--subscriptions is "redis://***@h/x", but must have the number of')


def test_a_folder_that_others_can_look_into_is_told(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    settings = load(None, {}, {"origin": "http://h", "subscriptions": f"file:{tmp_path}/s"})
    told = [it for it in dangers(settings) if it.startswith("--subscriptions") or "mode is" in it]
    assert len(told) == 1


def test_a_place_that_is_a_file_is_refused_when_files_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    flags = {"origin": "http://h", "subscriptions": f"file:{tmp_path}/file"}
    with pytest.raises(SettingsError, match="must be a folder, or nothing yet"):
        load(None, {}, flags, look_at_files=True)


async def test_a_reload_that_would_open_a_folder_twice_is_refused(tmp_path: Path) -> None:
    place = f"file:{tmp_path / 's'}"
    route = {"prefix": "/a", "origin": "http://127.0.0.1:9", "subscriptions": place}
    async with reloadable(tmp_path, route) as at:
        assert await at.reload({**route, "tail_max_age": 2}) == ()
        (problem,) = await at.reload({**route, "response_timeout": 2.0})
        assert problem == (
            f"/a cannot have the log {place} by a reload: "
            "/a of this server has it open until a restart."
        )
        assert (await at.ask("GET", "/a/__ds/jwks.json")).status == 200


async def test_a_reload_sets_a_route_up_anew_with_the_same_redis(
    redis_url: str, tmp_path: Path
) -> None:
    route = {"prefix": "/a", "origin": "http://127.0.0.1:9", "subscriptions": redis_url}
    async with reloadable(tmp_path, route) as at:
        published = await at.ask("GET", "/a/__ds/jwks.json")
        assert published.status == 200
        assert await at.reload({**route, "response_timeout": 2.0}) == ()
        assert (await at.ask("GET", "/a/__ds/jwks.json")).body == published.body
