"""The descriptors 0, 1 and 2 of a process, which its parent may have closed."""

from __future__ import annotations

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def prepare() -> None:
    """Open /dev/null in the place of those that are closed, and have no write to stderr fail.

    Else a socket or file that is opened later would get the number of a closed one, and the log
    lines of workers would go there. `sys.stdin` and `sys.stdout` stay None, so that a command says
    that it has no input or output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            lowest = os.open(os.devnull, os.O_RDWR)
            assert lowest == number, "those below it are open"
            os.set_inheritable(number, True)
    encoding = None if sys.stderr is None else sys.stderr.encoding
    sys.stderr = TextIOWrapper(
        BufferedWriter(_Unfailing(2, "wb", closefd=False)),
        encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


class _Unfailing(FileIO):
    """A file that drops what it cannot write.

    The status of a command says what its lost words would have said.
    """

    @override
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:  # the disk is full, or the reader of the pipe has gone
            return memoryview(data).nbytes
