"""Reads of streams at an HTTP origin: cached responses, and fetches that readers share."""
