"""Errors of the system that no command expects, in words: a full disk, a name that is too long."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

import click

from headgate_gateway.tools.shell.exit_status import DONE, FAILED, UNUSABLE
from headgate_gateway.tools.shell.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def system_errors_in_words() -> Iterator[None]:
    """End the program with a sentence where the system refuses something that no command expects.

    Where the program that read the output has ended, there is nothing left to do.
    """
    try:
        yield
    except BrokenPipeError:
        discard_output()
        sys.exit(DONE)
    except OSError as error:
        if error.errno == errno.ENOSPC and sys.stdout is not None:
            discard_output()
            _complain("the output cannot be written: No space left on device")
        elif error.filename is not None:
            _complain(f"{error.filename}: {error.strerror}")
        else:
            raise  # nobody knows about what: the traceback says where
        sys.exit(FAILED)
    except UnicodeEncodeError:
        _complain("an argument is no UTF-8 text")
        sys.exit(UNUSABLE)


def discard_output() -> None:
    """Discard what is still in the buffer of stdout: at the end, Python would fail to write it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _complain(reason: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(safe(f"headgate: {reason}."), err=True)
