"""MCP Events (SEP-3415): the streams of a route as events that hosts of MCP wait for."""
