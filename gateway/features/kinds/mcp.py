"""MCP Events: messages of streams as events for hosts of MCP."""

from __future__ import annotations

from gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(
    name="mcp",
    is_wanted=lambda route: route.mcp_events,
    of_log="gateway.features.mcp.hosted_reading:events_of_log",
    of_origin="gateway.features.mcp.origin_reading:events_of_origin",
    needs=("subscriptions",),  # by which webhooks get events
    check="gateway.features.mcp.mcp_requests:check_events",
)
