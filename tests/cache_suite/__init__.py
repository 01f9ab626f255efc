"""The public test suite for HTTP caches, http-tests/cache-tests, run against a Headgate."""
