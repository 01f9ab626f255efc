"""The parts of Linux that another system lacks, where Headgate is for development.

It starts without them, and says what is lost.
"""

from __future__ import annotations

import os
import sys

from gateway.telemetry.logs import log
from gateway.telemetry.metrics import of_this_process


def lost_here() -> list[str]:
    """Return what does not work on this system, which is nothing on Linux."""
    parts = {
        "several workers": hasattr(os, "memfd_create"),
        "metrics of the process": bool(of_this_process()),
        "the end of a front whose gateway is killed": sys.platform == "linux",
    }
    return [lost for lost, is_there in parts.items() if not is_there]


def log_lost() -> None:
    """Log what does not work on this system, in one line."""
    lost = lost_here()
    if lost:
        log.warning("server.not_on_linux", lost=lost)
