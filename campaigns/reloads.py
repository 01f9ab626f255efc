"""`python -m campaigns.reloads`: reloads under load, while thousands of readers follow a stream.

Each reload adds or removes a route, and changes the limits. No reader may lose its connection or a
message, and no request may fail. Then it restarts a server whose listening socket stays open, while
a client appends. It prints what was measured, and exits with 1 if something was lost or too slow.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.reloading.under_load import Load, Measured
from tests.reloading.under_restarts import append_during_restarts

LONGEST_PAUSE_S = 3.0  # of an append during a restart, as docs/operating.md says


def main() -> int:
    """Play it; return 1 if a reader, a message or a request was lost."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.reloads")
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--readers", type=int, default=5000)
    parser.add_argument("--restarts", type=int, default=20)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        load = Load(Path(folder), arguments.readers)
        measured = asyncio.run(load.play(arguments.reloads))
    _tell(arguments, measured, time.monotonic() - began)
    with tempfile.TemporaryDirectory() as folder:
        restarts = append_during_restarts(Path(folder) / "log", arguments.restarts)
        appends = asyncio.run(restarts)  # raises if one was refused or lost
    sys.stdout.write(
        f"{arguments.restarts} restarts, {appends.acknowledged} appends: "
        f"longest pause {appends.longest_s:.2f} s\n"
    )
    return 0 if measured.lost == 0 and appends.longest_s < LONGEST_PAUSE_S else 1


def _tell(arguments: argparse.Namespace, measured: Measured, seconds: float) -> None:
    megabytes = [size / 1e6 for size in measured.resident]
    sys.stdout.write(
        f"{arguments.reloads} reloads in {seconds:.0f} s, {arguments.readers} live readers\n"
        f"readers that lost their connection or a message: {measured.readers_lost}\n"
        f"requests: {measured.requests}, failed: {measured.failed}\n"
        f"hit ratio before: {measured.ratio_before:.4f}, during: {measured.ratio_during:.4f}\n"
        f"a reload: median {measured.median_ms:.0f} ms, longest {measured.longest_ms:.0f} ms, "
        "of which 250 ms wait for the file to be whole\n"
        f"memory: {megabytes[0]:.1f} MB before, {megabytes[-1]:.1f} MB after\n"
    )


if __name__ == "__main__":
    sys.exit(main())
