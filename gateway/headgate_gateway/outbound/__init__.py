"""Requests that Headgate itself makes, beside those to origins: to providers, receivers, caches."""
