"""The table of docs/cdn/README.md: python -m tests.cdn_configs.overview."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_cdn import explain
from headgate_cdn.targets import TARGETS
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_cdn.target import Target

PAGE = ROOT / "docs" / "cdn" / "README.md"
BEGIN, END = "<!-- targets -->\n", "<!-- end -->\n"
HEAD = ("target", *explain.HEAD)


def told(text: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{''.join(_table())}\n{END}{after}"


def _table() -> Iterator[str]:
    parts = {part for target in TARGETS.values() for part in target.beside}
    whole = [target for name, target in TARGETS.items() if name not in parts]
    yield _line(HEAD)
    yield _line(("---",) * len(HEAD))
    for target in sorted(whole, key=lambda it: it.is_elsewhere):
        yield _line(_cells(target))


def _cells(target: Target) -> tuple[str, ...]:
    link = f"[{target.title}](../../cdn_configs/headgate_cdn/{target.folder}/README.md)"
    return link, *explain.compared(target)


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(told(PAGE.read_text()))
