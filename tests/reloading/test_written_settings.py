"""Settings that would fail at the next start are told while the server goes on by the former."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.telemetry.health import by_name
from tests.reloading.reloadable import STREAMS, Reloadable, reloadable, token_entry
from tests.reloading.test_reload_of_workers import configured
from tests.support.certificates import Authority
from tests.support.http1 import ask
from tests.support.processes import HEADGATE, run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

METRIC = "headgate_config_last_reload_successful"
SPOILT = {
    "settings": "headgate.toml",
    "certificate": "pair.pem",
    "key": "pair.key",
    "tokens": "tokens.toml",
    "keys": "keys.json",
    "key of a provider": "provider.key",
    "event types": "events.toml",
}


class Told(NamedTuple):
    """What a gateway tells of its written settings: its note, and the value of the metric."""

    note: str | None
    is_ok: bool


async def told(at: Reloadable) -> Told:
    """Let the gateway look twice, as it does within two seconds."""
    written = at.gateway.reloader.written
    await written.look()
    await written.look()
    (sample,) = (it for it in at.gateway.reloader.samples() if it.metric.name == METRIC)
    return Told(by_name((await at.gateway.health()).notes)["settings"], bool(sample.number))


def settings(folder: Path) -> tuple[dict[str, object], dict[str, object]]:
    """Return a route and settings that name a file of each kind, and write these."""
    pair = Authority.of(folder).issue().write(folder, "pair")
    (folder / "tokens.toml").write_text(token_entry("ann"))
    (folder / "provider.key").write_text("sk-of-nobody")
    (folder / "provider.key").chmod(0o600)
    (folder / "events.toml").write_text('[[events]]\nname = "one"\nstreams = "a/*"\n')
    made = run([HEADGATE, "token", "keys", str(folder / "keys.json")])
    assert made.returncode == 0, made.stderr
    route = {
        **STREAMS,
        "auth": ["tokens", "read-tokens"],
        "mcp_events": True,
        "mcp_events_file": str(folder / "events.toml"),
    }
    return route, {
        "tokens_file": str(folder / "tokens.toml"),
        "keys_file": str(folder / "keys.json"),
        "admin_tls_certificate": str(pair.certificate),
        "admin_tls_key": str(pair.key),
    }


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("what", SPOILT)
async def test_what_a_start_would_refuse_is_told_until_it_is_repaired(
    tmp_path: Path, what: str
) -> None:
    route, others = settings(tmp_path)
    async with reloadable(tmp_path, route, **others) as at:
        model = {
            "prefix": "/m",
            "dialect": "openai",
            "upstream": "http://127.0.0.1:9",
            "streams": "/v1/stream/m",
        }
        with at.file.open("a") as file:
            file.write("[[models]]\n")
            file.writelines(f"{key} = {json.dumps(it)}\n" for key, it in model.items())
            file.write(f'key_file = "{tmp_path / "provider.key"}"\nauth = ["tokens"]\n')
        assert await at.gateway.reloader.reload() == ()
        assert await told(at) == (None, True)
        spoilt = tmp_path / SPOILT[what]
        whole = spoilt.read_text()
        spoilt.write_text(f"{{ no{whole}")
        note, is_ok = await told(at)
        assert note is not None
        assert str(spoilt) in note
        assert not is_ok
        spoilt.write_text(whole)
        assert await told(at) == (None, True)


MISSING: dict[str, tuple[str, ...]] = {  # files that settings name, and that are made later
    "a certificate": ("admin_tls_certificate", "admin_tls_key"),
    "tokens": ("tokens_file",),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("is_reloaded", [False, True], ids=["written", "reloaded"])
@pytest.mark.parametrize("what", MISSING)
async def test_a_missing_file_that_is_made_later_is_no_problem_any_more(
    tmp_path: Path, what: str, *, is_reloaded: bool
) -> None:
    route, others = settings(tmp_path)
    before = {key: it for key, it in others.items() if key not in MISSING["a certificate"]}
    later = {**before, **{key: f"{others[key]}.new" for key in MISSING[what]}}
    async with reloadable(tmp_path, route, **before) as at:
        at.write(route, **later)
        if is_reloaded:
            await at.gateway.reloader.reload()
        note, _ = await told(at)
        assert note is not None
        assert f"{others[MISSING[what][0]]}.new" in note
        for key in MISSING[what]:
            shutil.copy(f"{others[key]}", f"{others[key]}.new")
        assert await told(at) == (None, True)


async def test_each_mistake_in_a_file_is_a_problem_of_its_own(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(token_entry("ann"))
    route = {**STREAMS, "auth": ["tokens"]}
    async with reloadable(tmp_path, route, tokens_file=str(tokens)) as at:
        tokens.write_text("[[tokens]]\nnam = 3\n")
        note, _ = await told(at)
        assert note is not None
        assert "\n" not in note
        assert len(at.gateway.reloader.written.problems) == 3


async def test_a_refused_reload_is_told_until_the_file_is_another_or_in_force(
    tmp_path: Path,
) -> None:
    async with reloadable(tmp_path) as at:
        (refused,) = await at.reload(STREAMS, log_format="json")
        note, is_ok = await told(at)
        assert (note is not None and refused in note, is_ok) == (True, False)
        assert await told(at) == (note, is_ok)
        assert await at.reload(STREAMS) == ()
        assert await told(at) == (None, True)
        await at.reload(STREAMS, log_format="json")
        at.write(STREAMS)
        assert await told(at) == (None, True)


async def test_a_folder_that_is_mended_is_no_problem_any_more(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as at:
        (tmp_path / "disk").write_text("not mounted yet")
        at.write({**STREAMS, "storage": f"file:{tmp_path}/disk/data"})
        assert not (await told(at)).is_ok
        (tmp_path / "disk").unlink()
        assert await told(at) == (None, True)


FOLDERS = {  # that a start cannot make, and why
    "where nothing can be made": ("/proc/nope/data", "No such file or directory"),
    "below a file": ("/dev/null/data", "Not a directory"),
}


@pytest.mark.parametrize(("folder", "why"), FOLDERS.values(), ids=FOLDERS)
async def test_a_folder_that_a_start_could_not_make_is_told_until_it_is_another(
    tmp_path: Path, folder: str, why: str
) -> None:
    async with reloadable(tmp_path) as at:
        at.write({**STREAMS, "storage": f"file:{folder}"})
        note, is_ok = await told(at)
        assert note is not None
        assert (
            f"{at.file}:5: routes[0].storage: the data folder {folder} cannot be made: {why}"
            in note
        )
        assert not is_ok
        at.write({**STREAMS, "storage": f"file:{tmp_path}/new/data"})
        assert await told(at) == (None, True)
        assert not (tmp_path / "new").exists()


async def test_what_a_restart_puts_in_force_is_no_reason_to_fear_one(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as at:
        (refused,) = await at.reload(STREAMS, listen="127.0.0.1:9")
        needed = f"refused by the last reload, in force from a restart on: {refused}"
        assert await told(at) == (needed, False)
        away = {**STREAMS, "storage": "file:/proc/nope"}
        _, mistake = await at.reload(away, listen="127.0.0.1:9")
        note, _ = await told(at)
        assert note is not None
        assert "so a restart may fail" in note
        assert mistake in note
        assert await at.reload(STREAMS) == ()
        assert await told(at) == (None, True)


async def test_a_new_folder_in_a_reload_is_named_with_the_log_that_it_replaces(
    tmp_path: Path,
) -> None:
    def route(name: str) -> dict[str, object]:
        return {**STREAMS, "storage": f"file:{tmp_path / name}"}

    async with reloadable(tmp_path, route("data")) as at:
        reloader = at.gateway.reloader
        assert await at.reload(route("dada")) == ()
        assert reloader.warnings == (
            f"file:{tmp_path}/dada of /v1/stream is new and has no streams: those in "
            f"file:{tmp_path}/data are no longer served",
        )
        more = {"prefix": "/more", "storage": f"file:{tmp_path / 'more'}"}
        for routes in ((route("data"),), (route("data"), more)):  # back; beside what there was
            assert await at.reload(*routes) == ()
            assert len(reloader.warnings) == 0


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("workers", [1, 2])
def test_an_operator_sees_settings_that_a_start_would_refuse_before_any_reload(
    tmp_path: Path, workers: int
) -> None:
    with configured(tmp_path, workers) as at:
        admin = at.server.admin_port
        at.file.write_text(at.file.read_text().replace("workers", "wokers"))

        def attention() -> list[str]:
            found = ask(admin, "GET", "/api/v1/overview").json()["attention"]
            return [it["sentence"] for it in found if it["level"] == "warning"]

        wait_until(lambda: any("wokers is not a setting" in it for it in attention()), "told")
        assert f"{METRIC} 0".encode() in ask(admin, "GET", "/metrics").body
        assert b"wokers" in ask(admin, "GET", "/readyz?verbose").body


@pytest.mark.usefixtures("processes")
def test_the_command_names_a_new_folder_before_and_after_a_reload(tmp_path: Path) -> None:
    with configured(tmp_path, 1) as at:

        def warned(*options: str) -> list[str]:
            done: subprocess.CompletedProcess[bytes] = at.reload(*options)
            assert done.returncode == 0, done.stderr
            return done.stderr.decode().splitlines()

        def write(folder: str) -> None:
            text = f'[[routes]]\nprefix = "/a"\nstorage = "file:{tmp_path / folder}"\n'
            at.file.write_text(text)

        write("data")
        assert warned() == []
        write("dada")
        (warning,) = warned("--dry-run")
        assert "file:" in warning
        assert warned() == [warning]
