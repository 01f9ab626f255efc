"""The quantities that Prometheus records, so that rules, boards and people find them by a name."""

from __future__ import annotations

from headgate_gateway.monitoring import objective as objectives
from headgate_gateway.monitoring.quantities import SERVED_HERE, TARGET, mean, quantile, share
from headgate_gateway.monitoring.rules import RecordingRule

TARGET_RULE = RecordingRule("headgate:served_without_origin:target", f"vector({TARGET:g})")
SERVED = RecordingRule(
    "job_route:headgate_served_without_origin:ratio_rate5m",
    share("headgate_cache_results_total", "job, route", SERVED_HERE),
)
COLLAPSED = RecordingRule(
    "job_route:headgate_collapsed_readers:mean_rate5m",
    mean("headgate_collapsed_readers", "job, route"),
)
DELIVERY = RecordingRule(
    "instance_route:headgate_delivery_seconds:p99_rate5m",
    quantile(0.99, "headgate_delivery_seconds", "job, instance, route"),
)
LOOP_LAG = RecordingRule(
    "instance:headgate_event_loop_lag_seconds:p99_rate5m",
    quantile(0.99, "headgate_event_loop_lag_seconds", "job, instance"),
)
APPENDS = RecordingRule(
    "instance_route:headgate_append_duration_seconds:p99_rate5m",
    quantile(0.99, "headgate_append_duration_seconds", "job, instance, route"),
    "log",
)
RECORDINGS = (
    TARGET_RULE,
    SERVED,
    COLLAPSED,
    DELIVERY,
    LOOP_LAG,
    APPENDS,
    *objectives.RECORDINGS,
)
