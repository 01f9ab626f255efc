from __future__ import annotations

import json

import pytest

from gateway.settings import Settings
from gateway.workers.supervisor import of_workers

TOKEN, HASH = "t" * 24, "$argon2id$v=19$m=65536,t=3,p=4$" + "c" * 22 + "$" + "k" * 43


@pytest.mark.parametrize("admin", ["0.0.0.0:4439", "127.0.0.1:4439"])
def test_workers_are_told_all_settings_but_those_of_the_admin_listener(admin: str) -> None:
    given = {"listen": "127.0.0.1:4440", "origin": "redis://u:s3cret@h", "workers": 2}
    whole = Settings.of(
        {
            **given,
            "admin": admin,
            "admin_users": [{"name": "a", "role": "viewer", "password_hash": HASH}],
            "admin_tokens": [{"name": "b", "role": "viewer", "token": TOKEN}],
        }
    )
    told = of_workers(whole)
    assert TOKEN not in told
    assert HASH not in told
    assert "admin_" not in told
    worker = Settings.of(json.loads(told))
    assert worker.plain(without={"admin"}) == Settings.of(given).plain(without={"admin"})


def test_workers_are_told_the_tokens_that_they_purge_caches_with() -> None:
    cache = {"kind": "bunny", "zone": "1", "token": TOKEN}
    varnish = {"kind": "varnish", "url": "http://v"}
    given = {"origin": "redis://h", "workers": 2, "purges": [cache, varnish]}
    whole = Settings.of(given)
    told, other = Settings.of(json.loads(of_workers(whole))).purges
    assert told.secret() == TOKEN
    assert (told.url, told.zone) == ("https://api.bunny.net", "1")
    assert (other.url, other.secret()) == ("http://v", "")
    assert TOKEN not in f"{whole!r} {whole.plain()}"


def test_a_worker_may_listen_where_the_admin_listener_is_by_default() -> None:
    whole = Settings.of({"listen": "127.0.0.1:4439", "admin": "127.0.0.1:4440"})
    assert str(Settings.of(json.loads(of_workers(whole))).listen) == "127.0.0.1:4439"
