"""The quantities that Prometheus records, so that rules, boards and people find them by a name."""

from __future__ import annotations

from gateway.monitoring import objective as objectives
from gateway.monitoring.quantities import (
    FAILED,
    SERVED_HERE,
    TARGET,
    Mean,
    Quantile,
    Rate,
    Ratio,
    RecordedQuantity,
)
from gateway.monitoring.rules import RecordingRule, recording

TARGET_RULE = RecordingRule("headgate:served_without_origin:target", f"vector({TARGET:g})")
SERVED = RecordedQuantity(
    "job_route:headgate_served_without_origin:ratio_rate5m",
    Ratio(
        Rate("headgate_cache_results_total", "job, route", SERVED_HERE),
        Rate("headgate_cache_results_total", "job, route"),
    ),
)
COLLAPSED = RecordedQuantity(
    "job_route:headgate_collapsed_readers:mean_rate5m",
    Mean("headgate_collapsed_readers", "job, route"),
)
DELIVERY = RecordedQuantity(
    "instance_route:headgate_delivery_seconds:p99_rate5m",
    Quantile(0.99, "headgate_delivery_seconds", "job, instance, route"),
)
LOOP_LAG = RecordedQuantity(
    "instance:headgate_event_loop_lag_seconds:p99_rate5m",
    Quantile(0.99, "headgate_event_loop_lag_seconds", "job, instance"),
)
APPENDS = RecordedQuantity(
    "instance_route:headgate_append_duration_seconds:p99_rate5m",
    Quantile(0.99, "headgate_append_duration_seconds", "job, instance, route"),
)
ORIGIN_FAILURES = RecordedQuantity(
    "job_route:headgate_origin_failures:ratio_rate5m",
    Ratio(
        Rate("headgate_origin_requests_total", "job, route", FAILED),
        Rate("headgate_origin_requests_total", "job, route"),
    ),
)
RECORDINGS = (
    TARGET_RULE,
    *(recording(it.name, it.quantity) for it in (SERVED, COLLAPSED, DELIVERY, LOOP_LAG)),
    recording(APPENDS.name, APPENDS.quantity, "log"),
    recording(ORIGIN_FAILURES.name, ORIGIN_FAILURES.quantity, "origin"),
    *(
        recording(objectives.errors(window).name, objectives.errors(window).quantity)
        for window in objectives.WINDOWS
    ),
)
