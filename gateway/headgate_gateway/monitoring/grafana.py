"""The board as a dashboard of Grafana's JSON model.

Its uid is fixed, so that a link to it stays, and importing it again replaces it.
"""

from __future__ import annotations

import json
from string import ascii_uppercase
from typing import TYPE_CHECKING

from headgate_gateway.monitoring.board import (
    BAD,
    COLOURS,
    GOOD,
    OF_PROCESS,
    PANELS,
    WARNING,
    Level,
    queries,
)

if TYPE_CHECKING:
    from headgate_gateway.monitoring.board import Panel, PanelQuery
    from headgate_gateway.settings import Settings

    Json = dict[str, object]

UID = "headgate"
SCHEMA_VERSION = 39  # Grafana 11; later ones bring it up to date themselves
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8  # of Grafana's grid, which is 24 wide
_ALWAYS = (Level(None, GOOD),)


def dashboard(settings: Settings) -> str:
    """Return the board's file for this configuration."""
    board = {
        "uid": UID,
        "title": "Headgate",
        "description": "Made by `headgate monitor grafana`.",
        "tags": ["headgate"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # all panels show the same moment
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "panels": [
            _panel(number, panel, queries(panel, settings)) for number, panel in enumerate(PANELS)
        ],
    }
    return json.dumps(board, indent=2) + "\n"


def _variables() -> list[Json]:
    """Return the choices at the top: the data source, the routes and the servers."""
    source: Json = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }
    of_job = OF_PROCESS.partition(", ")[0]
    return [
        source,
        _choice("job", "Job", "label_values(headgate_build_info, job)"),
        _choice("instance", "Instance", f"label_values(headgate_build_info{{{of_job}}}, instance)"),
        # A route without readers has its results all the same, as zeros.
        _choice(
            "route", "Route", f"label_values(headgate_cache_results_total{{{OF_PROCESS}}}, route)"
        ),
    ]


def _choice(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # as the time range changes: gateways come and go
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(number: int, panel: Panel, queries: list[PanelQuery]) -> Json:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": DATASOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "targets": [
            _target(panel, query, letter)
            for query, letter in zip(queries, ascii_uppercase, strict=False)
        ],
        "fieldConfig": {
            "defaults": _defaults(panel),
            "overrides": [*_colours(queries), *_units(panel, queries)],
        },
        "options": _OPTIONS[panel.kind],
    }


def _target(panel: Panel, query: PanelQuery, letter: str) -> Json:
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend,
        "range": True,
        "format": "heatmap" if panel.kind == "heatmap" else "time_series",
    }


def _defaults(panel: Panel) -> Json:
    defaults: Json = {
        "unit": panel.unit,
        "noValue": panel.empty,
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": [
                {"value": level.value, "color": level.colour} for level in panel.levels or _ALWAYS
            ],
        },
        "custom": _custom(panel),
    }
    if panel.kind in {"timeseries", "stat"}:
        defaults["min"] = 0
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.kind == "state-timeline":
        defaults["mappings"] = [_STATES]
    return defaults


def _custom(panel: Panel) -> Json:
    """Return the field settings that only some kinds of panel know."""
    if panel.kind != "timeseries":
        return {}
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if panel.stacked else 8,
        "showPoints": "never",
        "spanNulls": False,  # a gap is a time without samples, and is to be seen
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if panel.levels else "off"},
    }


_STATES = {
    "type": "value",
    "options": {
        "0": {"text": "down", "color": BAD, "index": 0},
        "1": {"text": "up", "color": GOOD, "index": 1},
        "2": {"text": "draining", "color": WARNING, "index": 2},
    },
}
_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True}
_OPTIONS: dict[str, Json] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 64},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "unit": "s"},
    },
    "state-timeline": {
        "alignValue": "left",
        "legend": _LEGEND,
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "auto",
        "tooltip": {"mode": "single"},
    },
    "stat": {
        "colorMode": "none",
        "graphMode": "area",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value_and_name",
    },
}


def _colours(queries: list[PanelQuery]) -> list[Json]:
    """Return the overrides that give each result its usual colour."""
    if not any("{{result}}" in query.legend for query in queries):
        return []
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in COLOURS.items()
    ]


def _units(panel: Panel, queries: list[PanelQuery]) -> list[Json]:
    """Return the units that differ from the panel's; a chart has their axis on the right."""
    right = {"id": "custom.axisPlacement", "value": "right"}
    axis = [right] if panel.kind == "timeseries" else []
    return [
        {
            "matcher": {"id": "byFrameRefID", "options": letter},
            "properties": [{"id": "unit", "value": query.unit}, *axis],
        }
        for query, letter in zip(queries, ascii_uppercase, strict=False)
        if query.unit is not None
    ]
