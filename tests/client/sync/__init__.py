"""The library for threads, and the frameworks and workers that use it."""
