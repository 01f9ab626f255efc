"""Each target's file for one set of options, as it lies in the tree for people to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn_configs.options import from_settings
from cdn_configs.render import render
from cdn_configs.targets import TARGETS
from gateway.settings import Settings
from tests.test_architecture import ROOT

HOST = "streams.example.com"
UPSTREAM = "gateway.example.com:4437"


@pytest.mark.parametrize("name", TARGETS)
def test_each_golden_file_equals_the_output_of_its_command(name: str) -> None:
    target = TARGETS[name]
    golden = Path("cdn_configs", target.folder, "golden", name + Path(target.file_name).suffix)
    again = f"headgate cdn render {name} --host {HOST} --upstream {UPSTREAM} -o {golden}"
    rendered = render(target, from_settings(Settings(), host=HOST, upstream=UPSTREAM))
    assert (ROOT / golden).is_file(), again
    assert (ROOT / golden).read_text() == rendered, again
