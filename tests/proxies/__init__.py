"""Proxies by the Proxy Protocol."""
