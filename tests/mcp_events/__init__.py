"""Tests of MCP Events: a host of MCP that subscribes to streams."""
