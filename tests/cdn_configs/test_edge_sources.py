"""Functions for an edge use only what every JavaScript runtime of an edge has."""

from __future__ import annotations

import re

import pytest

from cdn_configs.options import Options
from cdn_configs.render import render
from cdn_configs.targets import TARGETS

OF_NODE = r"\bBuffer\b|\bprocess\.|\brequire\(|\bglobal\.|[\"']node:"


@pytest.mark.parametrize("name", ["cloudflare-worker", "cloudflare-durable", "vercel"])
def test_a_function_has_text_encoders_and_byte_arrays_and_nothing_of_node(name: str) -> None:
    options = Options(host="streams.example.com", upstream="gateway.example.com:443")
    text = render(TARGETS[name], options)
    assert re.findall(OF_NODE, text) == []
    assert "new TextEncoder()" in text
    assert ("waitUntil" in text) is (name != "vercel")  # which keeps a function until its end
    imported = re.findall(r"^import .* from (\S+)", text, re.MULTILINE)
    assert set(imported) <= {'"cloudflare:workers"'}
