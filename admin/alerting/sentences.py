"""The texts of alerts, from the templates that Prometheus fills in as well."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FIELD = re.compile(r"\{\{ \$(?:labels\.(\w+)|value(?: \| (\w+))?) \}\}")
_SMALL = ("", "m", "u", "n", "p")
_LARGE = ("", "k", "M", "G", "T", "P")


def filled(template: str, labels: Mapping[str, str], value: float) -> str:
    """Return a template with an alert's labels and value."""

    def field(found: re.Match[str]) -> str:
        label, function = found.groups()
        return labels.get(label, "") if label else FORMATS[function](value)

    return _FIELD.sub(field, template)


def value_format(template: str) -> str | None:
    """Return the name of the function by which a template shows the value, if it does."""
    found = [function for label, function in _FIELD.findall(template) if not label and function]
    return found[0] if found else None


def plain(value: float) -> str:
    """Return a number with four digits."""
    return f"{value:.4g}"


def percentage(value: float) -> str:
    """Return a share in percent."""
    return f"{value * 100:.4g}%"


def scaled(value: float) -> str:
    """Return a number with a prefix of powers of 1000."""
    if not value or not math.isfinite(value):
        return plain(value)
    if abs(value) >= 1:
        return _reduced(value, _LARGE, 1000)
    exponent = 0
    while abs(value) < 1 and exponent < len(_SMALL) - 1:
        value, exponent = value * 1000, exponent + 1
    return f"{value:.4g}{_SMALL[exponent]}"


def binary(value: float) -> str:
    """Return a number with a prefix of powers of 1024."""
    if abs(value) <= 1 or not math.isfinite(value):
        return plain(value)
    return _reduced(value, ("", "ki", "Mi", "Gi", "Ti", "Pi"), 1024)


def _reduced(value: float, prefixes: tuple[str, ...], base: int) -> str:
    exponent = 0
    while abs(value) >= base and exponent < len(prefixes) - 1:
        value, exponent = value / base, exponent + 1
    return f"{value:.4g}{prefixes[exponent]}"


def duration(value: float) -> str:
    """Return seconds as days, hours, minutes and seconds, or with a prefix."""
    if not math.isfinite(value) or not value:
        return f"{value:.4g}s" if not value else plain(value)
    if abs(value) < 1:
        return f"{scaled(value)}s"
    sign = "-" if value < 0 else ""
    minutes, seconds = divmod(int(abs(value)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{value:.4g}s"


FORMATS: dict[str | None, Callable[[float], str]] = {
    None: plain,
    "": plain,
    "humanize": scaled,
    "humanize1024": binary,
    "humanizeDuration": duration,
    "humanizePercentage": percentage,
}
