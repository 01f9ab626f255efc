"""Webhooks for hosts of MCP: their subscriptions, and the sending of events to receivers."""
