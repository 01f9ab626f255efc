"""Whatever text is in them, the files of rules and board are read as that text."""

from __future__ import annotations

import json

import pytest
import yaml

from headgate_gateway.monitoring import board
from headgate_gateway.monitoring.files import dashboard, rules_file
from tests.monitoring.configurations import EVERYTHING, MEMORY

HOSTILE = {
    "quotes": 'it\'s "quoted" \\ twice',
    "syntax of YAML": "a: b # c",
    "lines and control characters": "two\nlines\r\tand \x00\x1b\x7f\x85\u2028",
    "beyond ASCII": "café ☃ 𝐀",
    "templates": "{{ $labels.route }} {% raw %} {# x #} ${datasource} {{ 7 * 7 }}",
    "markup": "<script>&amp;</script>",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_rules_have_each_name_matcher_and_page_as_it_was_given(text: str) -> None:
    made = rules_file(EVERYTHING, name=text, selector=f"job=~{text}", runbooks=text)
    assert made.isascii()
    (group,) = yaml.safe_load(made)["groups"]
    assert group["name"] == f"headgate-{text}"
    recorded, *_ = group["rules"]
    assert recorded["labels"] == {"configuration": text}
    alerts = [rule for rule in group["rules"] if "alert" in rule]
    assert all(f"job=~{text}" in rule["expr"] for rule in alerts)
    for rule in alerts:
        assert rule["annotations"]["runbook_url"] == f"{text}#{rule['alert'].lower()}"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_panel_has_each_text_as_it_was_given(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query = board.PanelQuery(text, text, unit=text)
    level = board.Level(None, text)
    panel = board.Panel(text, text, text, (query,), levels=(level,), empty=text)
    monkeypatch.setattr(board, "PANELS", (panel,))
    (shown,) = json.loads(dashboard(MEMORY))["panels"]
    (target,), fields = shown["targets"], shown["fieldConfig"]
    (override,), defaults = fields["overrides"], fields["defaults"]
    found = [
        *(shown["title"], shown["description"], target["expr"], target["legendFormat"]),
        *(defaults["unit"], defaults["noValue"], defaults["thresholds"]["steps"][0]["color"]),
        override["properties"][0]["value"],
    ]
    assert found == [text] * 8
