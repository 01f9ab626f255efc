"""What holds for every test."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

# A busy machine is no bug: examples are bounded by their number, never by the clock.
settings.register_profile("headgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headgate")

LONGEST_ID = 100


def pytest_make_parametrize_id(val: object) -> str | None:
    """Show the value itself in a list of failures, where pytest would show the number of its row.

    Every process has to give it the same name: no address, and no order of a set, may be in it.
    """
    if isinstance(val, str | bytes | float | None) or callable(val):
        return None
    shown = repr(val)
    return None if len(shown) > LONGEST_ID or re.search("0x|set\\(|[{][^:]*[}]", shown) else shown


def pytest_configure(config: pytest.Config) -> None:
    """Start servers with the signals of a terminal, also where the tests themselves ignore them.

    Under `nohup`, or behind an `&`, what is ignored is inherited; a handler that does nothing
    ignores as well, and is not. The controller of pytest-xdist runs no tests: it leaves to its
    workers what it was given.
    """
    is_controller = bool(config.getoption("tx", None))
    for number in () if is_controller else (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _do_nothing)


def _do_nothing(_number: int, _frame: object) -> None:
    pass
