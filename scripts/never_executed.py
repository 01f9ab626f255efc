"""Print how many lines of each package no test executed; build/coverage/lines.txt lists them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]
LISTED = ROOT / "build" / "coverage" / "lines.txt"


def package(path: Path) -> str:
    """Return the folder that a module is counted in, such as gateway/headgate_gateway/web."""
    return "/".join(path.parent.parts[:3]) or "."


def main() -> None:
    """Print the table, by the data of the last run."""
    coverage = Coverage(data_file=str(LISTED.with_name("data")))
    coverage.load()
    lines, missed, listed = Counter[str](), Counter[str](), list[str]()
    for name in sorted(coverage.get_data().measured_files()):
        path = Path(name).relative_to(ROOT)
        if path.suffix != ".py":  # a template's code has its name
            continue
        _, statements, _, missing, where = coverage.analysis2(name)
        lines[package(path)] += len(statements)
        missed[package(path)] += len(missing)
        if missing:
            listed.append(f"{path}: {where}\n")
    LISTED.write_text("".join(listed))
    print(f"{'never executed':>14} {'lines':>8}")  # noqa: T201
    for one, count in [*sorted(lines.items()), ("all", lines.total())]:
        never = missed.total() if one == "all" else missed[one]
        print(f"{never:>14,} {count:>8,}  {one}")  # noqa: T201


if __name__ == "__main__":
    main()
