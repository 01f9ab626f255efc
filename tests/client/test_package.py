"""The library as it is installed: its names, its types, and its way to the command line."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path
from typing import get_origin

import headgate
import pytest


def test_every_exported_name_can_be_had() -> None:
    for name in headgate.__all__:
        exported = getattr(headgate, name)
        assert get_origin(exported) is not None or exported.__name__ == name  # a type, or a class


def test_every_error_of_the_library_can_be_imported_from_its_top() -> None:
    for module in pkgutil.walk_packages(headgate.__path__, "headgate."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds = [headgate.StreamError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    own = {kind.__name__ for kind in kinds if kind.__module__.startswith("headgate")}
    assert {"TooLarge", "SourceFailed"} <= own <= set(headgate.__all__)


def test_another_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'headgate' has no attribute 'Steam'"):
        _ = headgate.Steam


def test_its_metadata_is_complete() -> None:
    assert headgate.__version__ == version("headgate-client")
    assert (Path(headgate.__file__).parent / "py.typed").is_file()
    brought = [name for name in requires("headgate-client") or () if "extra ==" not in name]
    assert sorted(brought) == ["aiohttp<4,>=3.11", "msgspec>=0.19", "typing-extensions>=4.4"]


def test_importing_it_loads_neither_the_server_nor_an_http_client() -> None:
    loaded = "import sys, headgate; print({'aiohttp', 'gateway', 'redis'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_the_module_runs_the_command_of_the_server() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headgate", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"headgate {version('headgate')} (aiohttp ")
