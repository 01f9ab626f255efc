"""Known vulnerabilities of what is locked: `python -m tests.audit`, as `make test-all` does.

It fails for one that is known, and never because nobody could be asked: then it says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import click

LOCKS = ("requirements/run.txt", "requirements/front.txt")  # what users install
LONGEST_S = 15.0  # with which a run can live where the network is slow or away
COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--require-hashes"),
    *(argument for lock in LOCKS for argument in ("--requirement", lock)),
    *("--disable-pip", "--timeout", "3", "--progress-spinner", "off", "--format", "json"),
)


@click.command()
def main() -> None:
    """Ask, and say what was found."""
    try:
        done = subprocess.run(
            COMMAND, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        click.echo(f"pip-audit was left out: no answer within {LONGEST_S:.0f} s")
        return
    vulnerable, line = judged(done.stdout)
    click.echo(line)
    raise SystemExit(vulnerable)


def judged(output: str) -> tuple[bool, str]:
    """Whether something is vulnerable, and what to say, by what pip-audit has printed."""
    try:
        found: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        return False, "pip-audit was left out: its database could not be reached"
    known = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, mended in"
        f" {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for one in found
        for vulnerability in one.get("vulns", ())
    ]
    unknown = sum("skip_reason" in one for one in found)
    if known:
        return True, "\n".join(known)
    if unknown == len(found):
        return False, "pip-audit was left out: its database knows none of the packages here"
    return False, f"pip-audit: {len(found) - unknown} packages without a known vulnerability" + (
        f", {unknown} that it could not look up" if unknown else ""
    )


if __name__ == "__main__":
    main()
