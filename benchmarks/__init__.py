"""Headgate measured side by side with nginx, nchan and the reference server."""
