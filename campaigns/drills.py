"""Cause each fault and show what the console says: python -m campaigns.drills FOLDER [NAME...].

For each it says after how many seconds the pages answer, and after its end, until when something is
told in the present tense. Pictures of the overview and of the pages behind it go into the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.admin.drills import DRILLS
from tests.clients.pages import chromium
from tests.support.http1 import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.admin.drills import Drill
    from tests.support.processes import Headgate

MOST_S = 60.0  # 900 reads, and then 36 s until a condition of five minutes is shown
ENDS_S = 90.0  # a window of a minute, and looks; a replaced worker is told for a minute


async def pictures(drill: Drill, server: Headgate, folder: Path) -> None:
    """Take the pictures of a drill."""
    async with chromium() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        page = await context.new_page()
        for number, path in enumerate(dict.fromkeys(("/", *drill.pages))):
            await page.goto(f"{server.admin_url}{path}")
            await page.wait_for_timeout(500)
            name = f"{drill.name.replace(' ', '-')}-{number}.png"
            await page.screenshot(path=str(folder / name), full_page=True)
        await browser.close()


def seconds_until(is_so: Callable[[], bool], most_s: float) -> float | None:
    """Return after how many seconds something is so; None if it is not within `most_s`."""
    began = time.monotonic()
    while time.monotonic() - began < most_s:
        with contextlib.suppress(OSError):
            if is_so():
                return time.monotonic() - began
        time.sleep(0.5)
    return None


def shown(seconds: float | None) -> str:
    """Return seconds for people."""
    return "never" if seconds is None else f"{seconds:.0f} s"


def tell(drill: Drill, server: Headgate) -> bool:
    """Print what the overview and the events say; return whether the pages answer all."""
    overview = ask(server.admin_port, "GET", "/api/v1/overview").json()
    events = ask(server.admin_port, "GET", "/api/v1/events").json()["events"]
    click.echo(f"\n== {drill.name}: {overview['instance']['state']['words']}")
    for item in overview["attention"]:
        age = overview["taken_at"] - item["since"]
        click.echo(
            f"  attention, {item['level']}, {age:.0f} s: {item.get('route')} {item['sentence']}"
        )
    for event in events[-6:]:
        click.echo(f"  event, {event['level']}, {event['count']}×: {event['sentence']}")
    missing = drill.unanswered(server)
    click.echo(f"  {', '.join(drill.pages)}: {f'MISSING {missing}' if missing else 'answer'}")
    return not missing


def main() -> int:
    """Play the drills."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.drills")
    parser.add_argument("folder", type=Path, help="for the pictures")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(it.name for it in DRILLS)
    )
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [it for it in DRILLS if not options.names or it.name in options.names]
    answered = []
    for drill in chosen:
        with tempfile.TemporaryDirectory() as below, drill.cause(Path(below)) as fault:
            server = fault.server
            named_s = seconds_until(lambda: not drill.unanswered(server), MOST_S)  # noqa: B023
            tell(drill, server)
            asyncio.run(pictures(drill, server, folder))
            fault.end()
            over_s = seconds_until(lambda: not drill.present(server), ENDS_S)  # noqa: B023
            click.echo(f"  named after {shown(named_s)}, all in the past after {shown(over_s)}")
            click.echo("".join(f"  PRESENT: {it}\n" for it in drill.present(server)), nl=False)
            answered.append((named_s, over_s))
    click.echo(json.dumps({it.name: was for it, was in zip(chosen, answered, strict=True)}))
    return 0 if all(None not in it for it in answered) else 1


if __name__ == "__main__":
    sys.exit(main())
