"""Runs of applications."""

from __future__ import annotations

from headgate_gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(
    name="runs",
    is_wanted=lambda route: route.runs,
    of_log="headgate_gateway.features.runs.runs:RouteRuns",  # imports parts of the client library
    needs=("console",),  # which lists the streams among which the runs are
    page="headgate_admin.pages.features.runs:PAGE",
)
