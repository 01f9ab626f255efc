"""The parts that are in C, compiled where a test needs them."""

from __future__ import annotations

import subprocess
from pathlib import Path

_HERE = Path(__file__).parent


def program(name: str, folder: Path) -> Path:
    """Compile `<name>.c` to a program in `folder`."""
    return _compile(name, folder / name)


def preload(name: str, folder: Path) -> Path:
    """Compile `<name>.c` to a library for LD_PRELOAD in `folder`."""
    return _compile(name, folder / f"{name}.so", "-shared", "-fPIC")


def _compile(name: str, target: Path, *options: str) -> Path:
    source = _HERE / f"{name}.c"
    warnings = ("-Wall", "-Wextra", "-Werror")
    command = ["cc", "-O2", *warnings, *options, "-o", str(target), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return target
