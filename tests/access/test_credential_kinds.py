"""A kind of credential is added by one module: whatever has to know it reads its declaration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from headgate_gateway.settings import Settings, SettingsError, load
from headgate_gateway.settings.credential_kinds import KINDS
from tests.access.toy_credential import KIND, ToySettings, signed
from tests.support import serving as gateways
from tests.support.guarded_gateway import look_at_files
from tests.support.serving import get, put, serving

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"canary-0123456789abcdef"
ROUTE = '[[routes]]\nprefix = "/a"\nstorage = "memory:"\n'


@pytest.fixture(autouse=True)
def key_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have the kind found, and its setting declared, as if they were among the others."""
    path = tmp_path / "toy.key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    monkeypatch.setitem(KINDS, KIND.name, KIND)
    declared = {**Settings.settings, **ToySettings.settings}
    monkeypatch.setattr(Settings, "settings", declared)
    monkeypatch.setattr(gateways, "DEFAULTS", gateways.DEFAULTS.but(toy_file=str(path)))
    return path


def check(tmp_path: Path, text: str) -> tuple[int, str]:
    """Run `headgate config check`; return its status, and all that it has printed."""
    config = tmp_path / "h.toml"
    config.write_text(text)
    result = CliRunner().invoke(
        cli, ["config", "check", "--config", str(config)], prog_name="headgate"
    )
    return result.exit_code, result.output.replace(str(config), "h.toml")


def bearer(name: str, key: bytes = KEY) -> str:
    return f"Authorization: Bearer {signed(name, key)}"


async def test_an_added_credential_grants_access_until_its_key_changes(key_file: Path) -> None:
    async with serving(own={"auth": ["toy"]}) as gateway:
        made = await gateway.ask(put("/v1/stream/ada/s", bearer("ada"), body=b"data"))
        assert made.status == 201
        target = "/v1/stream/ada/s?offset=-1"
        read = await gateway.ask(get(target, bearer("ada")))
        assert (read.status, read.body) == (200, b"data")
        assert (await gateway.ask(get(target, bearer("ben")))).status == 403
        forged = await gateway.ask(get(target, bearer("ada", b"guessed")))
        assert (forged.status, b"signature that is wrong" in forged.body) == (401, True)
        assert (await gateway.ask(get(target))).status == 401
        key_file.write_bytes(b"another key")
        await look_at_files(gateway)
        assert (await gateway.ask(get(target, bearer("ada")))).status == 401


async def test_an_added_credential_is_asked_before_those_that_go_by_a_form(tmp_path: Path) -> None:
    """A static token is anything without two dots."""
    tokens = tmp_path / "tokens.toml"
    tokens.write_text("")
    route = {"auth": ["tokens", "toy"]}
    async with serving(own=route, tokens_file=str(tokens)) as gateway:
        made = await gateway.ask(put("/v1/stream/ada/s", bearer("ada"), body=b"data"))
        assert made.status == 201


def test_a_check_shows_whom_an_added_credential_admits(tmp_path: Path, key_file: Path) -> None:
    status, told = check(tmp_path, f'auth = "toy"\ntoy_file = "{key_file}"\n{ROUTE}')
    assert status == 0
    assert "To read or write, a client needs one of: a toy token." in told
    assert KEY.decode() not in told


def test_a_check_refuses_an_added_credential_without_its_setting(tmp_path: Path) -> None:
    told = "headgate: h.toml:1: auth has toy, which needs toy_file.\n"
    assert check(tmp_path, f'auth = "toy"\n{ROUTE}') == (2, told)


def test_a_check_refuses_a_setting_of_an_added_credential_without_use(tmp_path: Path) -> None:
    status, told = check(tmp_path, f'toy_file = "toy.key"\n{ROUTE}')
    assert status == 2
    assert "must be left out, or used: auth of no route has toy" in told


def test_a_wrong_kind_is_refused_with_a_list_that_has_an_added_one(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text('auth = "toys"\n')
    with pytest.raises(SettingsError, match="a list of toy, tokens, jwt, read-tokens"):
        load(config, {}, {})
