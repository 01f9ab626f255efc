"""Settings that ship: users and tokens of the console can be added to each of them."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from headgate_gateway.settings.loading import load
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.settings.declared import Settings

SHIPPED = ("", *(f"{name}/**/" for name in ("cdn_configs", "client", "docker", "docs", "packages")))
TOML_BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECRET = "f" * 64
HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZSByYW5kb20gc2FsdA"
    "$mDTV6AQ0xT4ThDJmGCTmDxSxKRMxkyvhbl1YUW0aI8I"
)
ADDED = f"""
[[admin.users]]
name = "added"
role = "operator"
password_hash = "{HASH}"

[[admin.tokens]]
name = "added-metrics"
role = "viewer"
token = "{SECRET}"
"""
# The same in the environment, for what ships with variables alone: {} is the next number.
VARIABLES = {
    "USERS__{}__NAME": "added",
    "USERS__{}__ROLE": "operator",
    "USERS__{}__PASSWORD_HASH": HASH,
    "TOKENS__{}__NAME": "added-metrics",
    "TOKENS__{}__ROLE": "viewer",
    "TOKENS__{}__TOKEN": SECRET,
}


def files(pattern: str) -> list[str]:
    """Return the paths of what ships, of one kind."""
    found = [path.relative_to(ROOT) for folder in SHIPPED for path in ROOT.glob(folder + pattern)]
    assert found, pattern
    return sorted(str(path) for path in found if "node_modules" not in path.parts)


def named(settings: Settings) -> tuple[set[str], set[str]]:
    """Return the names of the users and of the tokens."""
    admin = settings.admin
    return {it.name for it in admin.users}, {it.name for it in admin.tokens}


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """Return the variables of settings that a manifest gives a container, with values of ours."""
    variables = {it["name"]: it.get("value") for it in container.get("env", [])}
    made = {"HEADGATE_STORAGE": "redis://redis:6379"}
    return {
        name: value or made.get(name, f"{SECRET}{number}")
        for number, (name, value) in enumerate(variables.items())
        if name.startswith("HEADGATE_")
    }


def installed() -> str:
    """Return the settings of the block that makes a whole server from nothing."""
    page = (ROOT / "docs/installing.md").read_text()
    (text,) = re.findall(r"^cat > headgate\.toml <<END\n(.*?)^END$", page, re.MULTILINE | re.DOTALL)
    return str(text).replace("$(headgate config hash-password)", HASH)


@pytest.mark.parametrize("name", files("*headgate.toml"))
def test_a_user_and_a_token_of_metrics_can_be_added_to_each_settings_file(
    name: str, tmp_path: Path
) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text((ROOT / name).read_text() + ADDED)
    assert named(load(config, {}, {})) == ({"added"}, {"added-metrics"})


def test_a_user_and_a_token_of_metrics_can_be_added_to_the_settings_from_nothing_to_https(
    tmp_path: Path,
) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text(installed() + ADDED)
    assert named(load(config, {}, {})) == ({"ann", "added"}, {"added-metrics"})


def test_the_debian_settings_are_valid_with_their_comments_in_force_and_a_user_added(
    tmp_path: Path,
) -> None:
    text = (ROOT / "packages/deb/headgate.toml").read_text()
    config = tmp_path / "headgate.toml"
    text, count = re.subn(
        r"^# (auth =|\[credentials\]|\w+_file =)", r"\1", text, flags=re.MULTILINE
    )
    assert count == 4
    config.write_text(text + ADDED)
    settings = load(config, {}, {})
    assert named(settings) == ({"added"}, {"added-metrics"})
    assert settings.admin.listen.port == 4439
    assert str(settings.credentials.tokens_file).endswith("headgate.tokens")


@pytest.mark.parametrize("name", [it for it in files("*.yaml") if "packages/kubernetes/" in it])
def test_a_user_can_be_added_to_the_settings_of_each_manifest_beside_its_token_of_metrics(
    name: str, tmp_path: Path
) -> None:
    resources = [*YAML(typ="safe").load_all((ROOT / name).read_text())]
    (text,) = [it["data"]["headgate.toml"] for it in resources if it["kind"] == "ConfigMap"]
    (pod,) = [
        it["spec"]["template"]["spec"] for it in resources if "template" in it.get("spec", {})
    ]
    (container,) = pod["containers"]
    config = tmp_path / "headgate.toml"
    config.write_text(text + ADDED)
    settings = load(config, environment_of(container), {})
    assert named(settings) == ({"added"}, {"prometheus", "operator"})
    assert str(settings.admin.listen) == "0.0.0.0:4439"
    # Without variables, the tokens of the file are those that count.
    assert named(load(config, {}, {})) == ({"added"}, {"added-metrics"})


@pytest.mark.parametrize("name", files("*compose*.yaml"))
def test_a_user_and_a_token_of_metrics_can_be_added_to_each_compose_file(name: str) -> None:
    services = YAML(typ="safe").load((ROOT / name).read_text())["services"]
    (given,) = [
        variables
        for it in services.values()
        if "HEADGATE_ADMIN" in (variables := it.get("environment", {}))
    ]
    values = {"HEADGATE_AUTH": "none"} | {
        key: HASH if key.endswith("HASH") else SECRET + "0"
        for key, value in given.items()
        if value.startswith("${") and key != "HEADGATE_AUTH"
    }
    added = {f"HEADGATE_ADMIN__{key.format(1)}": value for key, value in VARIABLES.items()}
    settings = load(None, {**given, **values, **added}, {})
    assert named(settings) == ({"admin", "added"}, {"prometheus", "added-metrics"})


def test_no_page_writes_the_short_form_of_admin_which_takes_no_users() -> None:
    short = [
        (name, block)
        for name in files("*.md")
        for block in TOML_BLOCK.findall((ROOT / name).read_text())
        if isinstance(tomllib.loads(block).get("admin", {}), str)
    ]
    assert short == []
