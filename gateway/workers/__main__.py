"""Starts one of several workers: `python -m gateway.workers NUMBER`."""

from __future__ import annotations

from gateway import trust


def main() -> None:
    """Import aiohttp before anything else does, and work."""
    with trust.without_authorities():
        import aiohttp.web  # noqa: F401

    from gateway.workers import worker

    worker.main()


if __name__ == "__main__":
    main()
