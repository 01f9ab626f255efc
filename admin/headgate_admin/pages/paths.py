"""Outlines of values as SVG paths. A value of a chart is that of a whole step, and is drawn as one.

So a chart's values fill its width, and the same place in two charts is the same moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Scaled = Callable[[float], float]  # from a value to its y coordinate
    Run = list[tuple[int, float]]


def steps(values: Sequence[float | None], y: Scaled, width: int) -> str:
    """Return a path of a step for each known value; where a value is unknown it has a gap."""
    x = width / max(1, len(values))
    return "".join("M" + _level(run, y, x) for run in _runs(values))


def area(floor: Sequence[float | None], roof: Sequence[float | None], y: Scaled, width: int) -> str:
    """Return a path around what lies between two outlines of steps."""
    x = width / max(1, len(roof))
    shapes = []
    for run in _runs(roof):
        under = [(at, floor[at] or 0.0) for at, _ in run]
        shapes.append(f"M{_level(run, y, x)}L{_level(under[::-1], y, x, back=1)}Z")
    return "".join(shapes)


def trend(values: Sequence[float | None], y: Scaled, width: int) -> str:
    """Return a path from point to point, with gaps; a value alone is a dot."""
    x = width / max(1, len(values) - 1)
    return "".join(
        "M" + "L".join(f"{at * x:.1f},{y(value):g}" for at, value in run) + ("h0" * (len(run) == 1))
        for run in _runs(values)
    )


def _level(run: Iterable[tuple[int, float]], y: Scaled, x: float, *, back: int = 0) -> str:
    """Return the steps of a run from left to right, or with `back` from right to left."""
    parts: list[str] = []
    height = None
    for at, value in run:
        if height is None:
            parts.append(f"{(at + back) * x:.1f},{y(value):g}")
        elif y(value) != height:
            parts.append(f"V{y(value):g}")
        elif parts[-1].startswith("H"):  # one line for values that are alike
            parts.pop()
        height = y(value)
        parts.append(f"H{(at + 1 - back) * x:.1f}")
    return "".join(parts)


def _runs(values: Sequence[float | None]) -> list[Run]:
    """Return runs of neighbouring known values, with their places."""
    runs: list[Run] = []
    begins = True
    for at, value in enumerate(values):
        if value is not None:
            if begins:
                runs.append([])
            runs[-1].append((at, value))
        begins = value is None
    return runs
