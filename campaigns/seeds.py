"""What campaigns of random histories have in common: a seed to repeat, and how they tell."""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence


def seeded(parser: ArgumentParser) -> Namespace:
    """Return what was chosen, with a seed, which is told and taken."""
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    options = parser.parse_args()
    random.seed(options.seed)
    sys.stdout.write(f"seed {options.seed}\n")
    return options


def told(complaints: Sequence[str]) -> int:
    """Tell what is broken; return the exit status."""
    sys.stdout.writelines(f"BROKEN: {complaint}\n" for complaint in complaints)
    return 1 if complaints else 0
