"""All settings in the documents, and in the files that deploy the server, are settings."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from headgate_gateway.commands.serve import serve
from headgate_gateway.settings import Route, Settings, SettingsError, load
from headgate_gateway.settings.reading.given import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, variable
from headgate_gateway.settings.setting_descriptions import describe_settings
from tests.docker.image_file import instructions
from tests.protocol.error_kinds import answered_errors
from tests.support.processes import ROOT
from tests.test_architecture import sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLACES = ("docs", "docker", "packages", "cdn_configs", "client", "doctor")
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
HERE_DOCUMENT = re.compile(r"^cat > (\S+\.toml) <<END\n(.*?)^END$", re.DOTALL | re.MULTILINE)
# Its first line names the file that a block is, if that is not one of settings.
FILE_NAME = re.compile(r"# ([\w.-]+\.\w+)\b")
SETTINGS_FILE = "headgate.toml"
COMMENTED_SETTING = re.compile(r"^# ?(?=[a-z_]+ = |\[[a-z_.]+\]$)", re.MULTILINE)
VARIABLE = re.compile(rf"\b({ENVIRONMENT_PREFIX}[A-Z0-9_]+)(?:(=|: >-\n +|: )([^\s`\\]+))?")
SERVE = re.compile(r"(?:headgate serve|make run ARGS=\")((?: ?--[a-z-]+ [^\s`\"&]+)+)")
# What stands for a value that a reader of the documents makes.
MADE = {
    "PASSWORD_HASH": f"$argon2id$v=19$m=65536,t=3,p=4${'A' * 22}${'A' * 43}",
    "TOKEN": "f" * 64,
    "AUTH": "none",
}
# What stands for a Secret of a manifest that is no token.
SECRETS = {"HEADGATE_STORAGE": "redis://redis:6379"}


class Example(NamedTuple):
    """Settings of a file of the repository; `name` says where they are."""

    name: str
    text: str
    environment: Mapping[str, str] = MappingProxyType({})  # of the container that reads them


def read(path: Path) -> str:
    return (ROOT / path).read_text()


FILES = sorted(
    path
    for path in (*sources(*PLACES), *(it.relative_to(ROOT) for it in ROOT.glob("*.md")))
    if path.suffix in {".md", ".toml", ".yaml", ".service"} or path.name == "Dockerfile"
)
PAGES = [path for path in FILES if path.suffix == ".md"]


def settings_files() -> list[Example]:
    """Return the files of settings: blocks of pages, files by themselves, and ConfigMaps."""
    return [
        Example(f"{path}:{number}", text, _environment_in(path))
        for path in FILES
        for number, text in enumerate(_settings_in(path), 1)
    ]


def _settings_in(path: Path) -> Iterator[str]:
    text = read(path)
    if path.name == SETTINGS_FILE:
        yield text
        yield COMMENTED_SETTING.sub("", text)
    elif path.suffix == ".yaml":
        for resource in YAML(typ="safe").load_all(text):
            if resource and resource.get("kind") == "ConfigMap":
                yield resource["data"][SETTINGS_FILE]
    elif path.suffix == ".md":
        yield from _settings_on(text)


def _environment_in(path: Path) -> dict[str, str]:
    """Return the settings that the containers of a manifest have as variables; a secret is made."""
    resources = YAML(typ="safe").load_all(read(path)) if path.suffix == ".yaml" else ()
    return {
        it["name"]: it.get("value", SECRETS.get(it["name"], MADE["TOKEN"]))
        for resource in resources
        if resource and resource.get("kind") in {"Deployment", "StatefulSet"}
        for container in resource["spec"]["template"]["spec"]["containers"]
        for it in container["env"]
        if it["name"].startswith(ENVIRONMENT_PREFIX)
    }


def _settings_on(page: str) -> Iterator[str]:
    for _, language, block in FENCE.findall(page):
        named = FILE_NAME.match(block)
        if language == "toml" and (named is None or named[1] == SETTINGS_FILE):
            yield block
        for name, written in HERE_DOCUMENT.findall(block):
            if name == SETTINGS_FILE:
                yield written.replace("$(headgate config hash-password)", MADE["PASSWORD_HASH"])


def completed(values: Mapping[str, Any]) -> str:
    """Return what a fragment needs besides, before it, to be all settings of a server."""
    open_to_all = "auth" not in values and "0.0.0.0" in values.get("listen", "")
    return 'auth = "none"\n' if open_to_all else ""


@pytest.mark.parametrize("example", settings_files(), ids=lambda it: it.name)
def test_documented_settings_are_valid(example: Example, tmp_path: Path) -> None:
    config = tmp_path / SETTINGS_FILE
    config.write_text(completed(tomllib.loads(example.text)) + example.text)
    load(config, example.environment, {})


def variables() -> list[Example]:
    """Return the variables with a value that documents and files set, a set for each block."""
    found = []
    for path in FILES:
        text = read(path)
        blocks = [it for _, _, it in FENCE.findall(text)] if path.suffix == ".md" else [text]
        found += [
            Example(f"{path}:{number}", block)
            for number, block in enumerate(blocks, 1)
            if any(_assigned(block))
        ]
    return found


def _assigned(block: str) -> Iterator[tuple[str, str]]:
    for name, _, value in VARIABLE.findall(block):
        if value and name not in NO_SETTINGS:
            made = next((it for ending, it in MADE.items() if name.endswith(ending)), value)
            yield name, made if "$" in value else value.strip("\"'")


SECTIONS = {name: it.section for name, it in Settings.settings.items() if it.section is not None}
# Variables of a section, for the one of its settings that its name alone means.
SHORT = {variable((name,)) for name, it in SECTIONS.items() if it.short}
# Those that no server reads: the file of its settings, and arguments of the image's build.
NO_SETTINGS = {CONFIG_VARIABLE, *(it.partition("=")[0] for it in instructions("ARG"))}


@pytest.mark.parametrize("example", variables(), ids=lambda it: it.name)
def test_documented_variables_have_valid_values(example: Example) -> None:
    load(None, {"HEADGATE_AUTH": "none", **dict(_assigned(example.text))}, {})


def test_every_variable_that_is_named_is_that_of_a_setting() -> None:
    known = {it.environment for it, _ in describe_settings()} | NO_SETTINGS | SHORT
    named = {
        (str(path), re.sub(r"__\d+__\w*$", "", found[0]))
        for path in FILES
        for found in VARIABLE.findall(read(path))
    }
    assert {it for it in named if it[1] not in known} == set()


def test_the_flags_of_serve_in_the_documents_are_its_flags_with_valid_values() -> None:
    found = [(str(path), it.split()) for path in PAGES for it in SERVE.findall(read(path))]
    assert len(found) > 20
    for _, arguments in found:
        given = serve.make_context("serve", list(arguments)).params
        given.pop("config")
        load(None, {}, given | {"auth": "none"})


ORIGIN, REDIS = {"origin": "http://127.0.0.1:9"}, {"storage": "redis://127.0.0.1:9"}
MEMORY, FILE = {"storage": "memory:"}, {"storage": "file:streams"}
IS_ELSEWHERE = re.compile(
    r" is not (?:an http origin|a storage|a folder or memory|a Redis|a server)"
)
# The page's words for places, and the places that they mean.
ONLY_FOR = {
    "only for origins": [ORIGIN],
    "only for storage": [MEMORY, FILE, REDIS],
    "only for origins and Redis": [ORIGIN, REDIS],
    "only for `memory:` and `file:PATH`": [MEMORY, FILE],
    "only for Redis": [REDIS],
}


def refused_at(place: dict[str, str], key: str, folder: Path) -> bool:
    """Return whether a route at a place must not have a setting, here with its default."""
    config = folder / SETTINGS_FILE
    value = getattr(Route.of({"prefix": "/a", **place}), key)
    given = json.dumps(list(value) if isinstance(value, tuple) else value)
    lines = [f"{name} = {json.dumps(value)}" for name, value in place.items()]
    config.write_text("\n".join(["[[routes]]", 'prefix = "/a"', *lines, f"{key} = {given}"]))
    try:
        load(config, {}, {})
    except SettingsError as error:
        return IS_ELSEWHERE.search(str(error)) is not None
    return False


def test_the_page_says_which_settings_of_a_route_are_for_which_places(tmp_path: Path) -> None:
    page = read(Path("docs/configuration.md"))
    _, _, rest = page.partition("Some settings are only for some places.")
    items = rest.split("\n\n")[1].removeprefix("- ").split("\n- ")
    told: dict[str, list[dict[str, str]]] = {}
    for item in items:
        words, _, keys = item.rpartition(": ")
        told |= dict.fromkeys(re.findall(r"`(\w+)`", keys), ONLY_FOR[words])
    everywhere = [ORIGIN, MEMORY, FILE, REDIS]
    known = {}
    for key in Route.settings.keys() - {"prefix", "storage", "origin"}:
        places = [it for it in everywhere if not refused_at(it, key, tmp_path)]
        if places != everywhere:
            known[key] = places
    assert told == known


def test_each_name_in_the_prose_about_settings_is_a_setting_or_a_code_of_an_error() -> None:
    page = FENCE.sub("", read(Path("docs/configuration.md")))
    prose = "\n".join(line for line in page.splitlines() if not line.startswith("|"))
    keys = {it.key for it, _ in describe_settings()} | {*re.findall(r"^\| `(\w+)` \|", page, re.M)}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", prose))
    assert len(named) > 20
    assert named - keys - {kind.code for kind in answered_errors()} == set()


def test_settings_that_the_pages_name_have_their_section_before_them() -> None:
    places = {it.path: it.key for it, _ in describe_settings()}
    joined = {place.replace(".", "_") for place in places if "." in place}
    elsewhere = {f"{section}.{key}" for section in SECTIONS for key in places.values()} - {*places}
    named = {
        (str(path), word)
        for path in PAGES
        for word in re.findall(r"`([a-z_.]+)(?: = [^`]*)?`", read(path))
    }
    assert {it for it in named if it[1] in joined | elsewhere} == set()
