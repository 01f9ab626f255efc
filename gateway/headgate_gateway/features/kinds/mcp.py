"""MCP Events: messages of streams as events for hosts of MCP."""

from __future__ import annotations

from headgate_gateway.features.kinds.declaration import FeatureKind

KIND = FeatureKind(
    name="mcp",
    is_wanted=lambda route: route.mcp_events,
    of_log="headgate_gateway.features.mcp.mcp_requests:events_of_log",
    check="headgate_gateway.features.mcp.mcp_requests:check_events",
)
