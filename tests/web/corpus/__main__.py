"""Record the exchanges, or play them again and again: `python -m tests.web.corpus --help`."""

from __future__ import annotations

import argparse
import sys

from tests.web.corpus.recordings import (
    Plays,
    differences,
    exchanges_of,
    group_names,
    recorded,
    write,
)


def main() -> int:
    """Return 0 unless a play differs from what is recorded."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.corpus", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the recordings anew")
    parser.add_argument("--plays", type=int, default=1, help="how often everything is compared")
    parser.add_argument("groups", nargs="*", help="only these; else all")
    arguments = parser.parse_args()
    chosen = arguments.groups or group_names()
    failures = 0
    with Plays() as plays:
        for _ in range(arguments.plays):
            for group in chosen:
                if arguments.record:
                    named = exchanges_of(group).items()
                    write(group, {name: plays.sections(one) for name, one in named})
                else:
                    failures += _compared(plays, group)
    return 1 if failures else 0


def _compared(plays: Plays, group: str) -> int:
    failures = 0
    known = recorded(group)
    for name, one in exchanges_of(group).items():
        if found := differences(known.get(name, {}), plays.sections(one)):
            failures += 1
            sys.stdout.write("\n".join([f"{group}: {name}", *found, ""]))
            sys.stdout.flush()
    return failures


if __name__ == "__main__":
    sys.exit(main())
