"""Proxies by the Proxy Protocol: responses of allowed hosts, which become streams."""
