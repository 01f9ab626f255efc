"""The board is a dashboard that Grafana can show, and its queries are PromQL."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.monitoring.board import ANNOTATIONS, PANELS
from headgate_gateway.monitoring.files import dashboard
from headgate_gateway.settings import Settings
from tests.monitoring.configurations import EVERYTHING, FILES, MEMORY, ORIGIN, REDIS, WORKERS
from tests.monitoring.promtool import check_expressions

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def shown(settings: Settings) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(dashboard(settings))
    return told


def targets(settings: Settings) -> dict[str, list[str]]:
    """The names of each panel's series."""
    return {
        panel["title"]: [target["legendFormat"] for target in panel["targets"]]
        for panel in shown(settings)["panels"]
    }


@pytest.mark.parametrize(
    "settings",
    [EVERYTHING, MEMORY, FILES, REDIS, ORIGIN, WORKERS],
    ids=["everything", "memory", "files", "redis", "origin", "workers"],
)
def test_the_board_has_all_panels_each_with_a_query(settings: Settings) -> None:
    panels = shown(settings)["panels"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in PANELS]
    assert all(panel["targets"] for panel in panels)


def test_board_panels_have_unique_ids_and_do_not_overlap() -> None:
    panels = shown(EVERYTHING)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))


@pytest.mark.parametrize("panel", shown(EVERYTHING)["panels"], ids=lambda it: it["title"])
def test_each_board_panel_has_a_description_a_unit_and_distinct_queries(
    panel: dict[str, Any],
) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == SOURCE
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)
    assert all(target["datasource"] == SOURCE for target in panel["targets"])


def test_the_board_has_a_fixed_uid_and_variables() -> None:
    told = shown(MEMORY)
    assert told["uid"] == "headgate"
    assert "id" not in told  # which a Grafana gives it
    variables = told["templating"]["list"]
    assert [one["name"] for one in variables] == ["datasource", "job", "instance", "route"]
    assert [(one["multi"], one["includeAll"]) for one in variables[1:]] == [(True, True)] * 3


def test_the_board_marks_starts_and_incidents_and_links_to_the_console_and_the_runbooks() -> None:
    told = shown(Settings(storage="memory:", admin={"listen": "127.0.0.1:4444"}))
    assert {it["title"]: it["url"] for it in told["links"]} == {
        "Console": "http://127.0.0.1:4444/",
        "Runbooks": "http://127.0.0.1:4444/alerts",
    }
    marks = told["annotations"]["list"]
    assert [it["name"] for it in marks] == ["Starts of gateways", "Replaced workers", "Incidents"]
    assert all(it["enable"] and it["datasource"] == SOURCE for it in marks)
    assert [it["useValueForTime"] for it in marks] == [True, False, False]


def test_each_configuration_gets_only_board_queries_for_its_parts() -> None:
    memory, redis, origin = targets(MEMORY), targets(REDIS), targets(ORIGIN)
    assert not [name for name in memory["Saturation"] if "Redis" in name or "disk" in name]
    assert "Redis memory {{route}}" in redis["Saturation"]
    assert not [name for name in redis["States"] if name.startswith("origin")]
    assert not [name for name in origin["States"] if name.startswith("log")]


@pytest.mark.usefixtures("processes")
def test_every_board_query_is_valid_promql_and_uses_the_chosen_job_and_instance(
    tmp_path: Path,
) -> None:
    queries = [query.expr for panel in PANELS for query in panel.queries]
    for expr in queries:
        chosen = re.findall(r"\{[^{}]*\}", expr)
        assert chosen, expr
        assert all('job=~"$job", instance=~"$instance"' in one for one in chosen), expr
    of_all = [*queries, *(it.expr for it in ANNOTATIONS)]
    check_expressions([expr.replace("$__rate_interval", "1m") for expr in of_all], tmp_path)
