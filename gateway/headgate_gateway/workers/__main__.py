"""Starts one of several workers: `python -m headgate_gateway.workers NUMBER`."""

from __future__ import annotations

from headgate_gateway import trust


def main() -> None:
    """Import aiohttp before anything else does, and work."""
    with trust.without_authorities():
        import aiohttp.web  # noqa: F401

    from headgate_gateway.workers import worker

    worker.main()


if __name__ == "__main__":
    main()
