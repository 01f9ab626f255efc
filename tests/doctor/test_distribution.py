"""The doctor as a distribution of its own: what it needs, and what it knows of a Headgate."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

import headgate_doctor
from headgate_cdn.render import DIGEST_HEADER
from headgate_doctor import server_names
from headgate_doctor.advice import ADVICE
from headgate_doctor.command import doctor
from headgate_gateway.__main__ import cli
from headgate_gateway.access import reader_keys
from headgate_gateway.commands.doctor import cdn
from headgate_gateway.protocol.http import cache_status, header_names
from headgate_gateway.protocol.http.forwarding import READER_COOKIE
from headgate_gateway.settings.setting_descriptions import describe_settings
from tests.support.ports import free_port
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    import pytest


def test_the_doctor_needs_the_library_and_click_alone() -> None:
    assert sorted(requires("headgate-doctor") or ()) == [
        "click>=8.5",
        "headgate-client<0.2,>=0.1.0.dev0",
    ]
    assert (Path(headgate_doctor.__file__).parent / "py.typed").is_file()


def test_the_doctor_is_an_extra_of_the_server_and_has_the_version_of_the_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["doctor"] == ["headgate-doctor>=0.1.0.dev0,<0.2"]
    assert version("headgate-doctor") == version("headgate-client")
    done = CliRunner().invoke(doctor, ["--version"])
    assert (done.exit_code, done.output) == (0, f"headgate-doctor {version('headgate-doctor')}\n")
    assert [name for name in project["dependencies"] if "doctor" in name] == []


def test_names_in_the_doctor_are_those_of_the_server() -> None:
    """The other names of header fields are the library's."""
    names = {name: value for name, value in vars(server_names).items() if name.isupper()}
    assert names == {
        "READER_KEY": header_names.READER_KEY,
        "READER_KEY_PARAMETER": reader_keys.PARAMETER,
        "READER_COOKIE": READER_COOKIE,
        "DIGEST_HEADER": DIGEST_HEADER,
        "HEADGATE": cache_status.NAME.lower(),
    }


def test_settings_that_the_advice_names_are_those_of_the_server() -> None:
    known = {one.path: str(one.default) for one, _ in describe_settings()}
    texts = "\n".join(ADVICE.values())
    named = re.findall(r"\b((?:live|limits|http)\.\w+)", texts)
    assert len(set(named)) > 3
    assert set(named) <= known.keys()
    for name, amount in re.findall(r"(\w+\.\w+), (\d+ (?:s|MiB)) unless set", texts):
        assert known[name].removesuffix(".0") in {
            amount.removesuffix(" s"),
            amount.replace(" ", ""),
        }


def test_headgate_doctor_cdn_is_the_command_of_the_doctor() -> None:
    alone = CliRunner().invoke(doctor, ["--help"], prog_name="headgate doctor cdn")
    mounted = CliRunner().invoke(cli, ["doctor", "cdn", "--help"], prog_name="headgate")
    assert (alone.exit_code, alone.output) == (mounted.exit_code, mounted.output)
    assert vars(cdn)["doctor_cdn"] is doctor


def test_the_doctor_speaks_by_the_name_of_the_command_that_was_typed() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1/stream"
    for command, words, name in (
        (doctor, [url], "headgate-doctor"),
        (cli, ["doctor", "cdn", url], "headgate"),
    ):
        said = CliRunner().invoke(command, words, prog_name=name).stderr.splitlines()
        assert [line.partition(": ")[0] for line in said] == [name, name]


def test_without_the_distribution_headgate_doctor_cdn_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "headgate_doctor", None)
    monkeypatch.delitem(sys.modules, "headgate_doctor.command")
    spec = importlib.util.find_spec(cdn.__name__)
    assert spec is not None
    assert spec.loader is not None
    without = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(without)
    for words in (["http://h/v1/stream", "--json"], ["--help"], []):
        done = CliRunner().invoke(without.doctor_cdn, words)
        assert done.exit_code == 2
        assert done.output == (
            "headgate: headgate doctor cdn needs an extra: "
            "pip install ./client ./doctor '.[doctor]' in a clone of Headgate, "
            "or ./headgate_doctor-*.whl in the folder of a release.\n"
        )
