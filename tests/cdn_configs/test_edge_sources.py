"""Functions for an edge use only what every JavaScript runtime of an edge has."""

from __future__ import annotations

import re

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS

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
