"""The library as it is installed: its names, its types, and its way to the command line."""

from __future__ import annotations

import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest

import headgate
import headgate.sync
from tests.test_architecture import ROOT


def test_an_unknown_name_of_the_library_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'headgate' has no attribute 'Steam'"):
        _ = headgate.Steam


def test_the_library_declares_its_version_types_and_dependencies() -> None:
    assert headgate.__version__ == version("headgate-client")
    assert (Path(headgate.__file__).parent / "py.typed").is_file()
    brought = [name for name in requires("headgate-client") or () if "extra ==" not in name]
    assert sorted(brought) == [
        "aiohttp<4,>=3.11",
        "msgspec>=0.19",
        "multidict>=4.5",
        "typing-extensions>=4.4",
        "yarl>=1.17",
    ]


def test_the_client_of_redis_is_an_extra_of_the_library() -> None:
    project = tomllib.loads((ROOT / "client/pyproject.toml").read_text())["project"]
    assert [one for one in project["dependencies"] if "redis" in one] == []
    (needed,) = project["optional-dependencies"]["redis"]
    assert needed.startswith("redis>=")


def test_dir_of_the_library_lists_what_is_public_and_no_module() -> None:
    for package in (headgate, headgate.sync):
        public = [name for name in dir(package) if not name.startswith("__")]
        assert public == sorted(package.__all__)
    assert "__version__" in dir(headgate)


@pytest.mark.usefixtures("processes")
def test_importing_the_library_loads_neither_gateway_nor_aiohttp_nor_redis() -> None:
    loaded = (
        "import sys, headgate; print({'aiohttp', 'headgate_gateway', 'redis'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


PRINTED = re.findall(
    r"^::: headgate\.(\S+)$",
    (Path(__file__).parents[2] / "docs/client/reference.md").read_text(),
    re.MULTILINE,
)


def test_what_is_public_is_printed_in_the_reference_and_is_not_much() -> None:
    """A name counts once that asyncio and threads, or several frameworks, have."""
    assert len(headgate.__all__) <= 25
    assert {*headgate.__all__, *(f"sync.{name}" for name in headgate.sync.__all__)} <= {*PRINTED}
    assert len({name.rpartition(".")[2] for name in PRINTED}) <= 40
    for name in PRINTED:
        assert pkgutil.resolve_name(f"headgate.{name}")


def test_public_parameters_have_ids_and_units_by_one_scheme() -> None:
    """Ids are called `…_id`, bytes `…_bytes`; seconds have no unit in their name."""
    kinds = [pkgutil.resolve_name(f"headgate.{name}") for name in PRINTED]
    methods = [it for kind in kinds for name, it in vars(kind).items() if name[0] != "_"]
    callables = [it for it in (*kinds, *methods) if callable(it)]
    named = {name for it in callables for name in inspect.signature(it).parameters}
    assert {"run_id", "chat_id", "subscription_ids", "orphan_after", "max_batch_bytes"} <= named
    assert not any(re.search("_(s|ms|kb)$|^(run|chat|subscription)$", name) for name in named)


def test_the_site_hides_no_public_name_of_the_library() -> None:
    settings = (Path(__file__).parents[2] / "mkdocs.yml").read_text()
    assert re.findall(r"filters: (.*)", settings) == ['["!^_"]']
